package GroupMember;

# Members of consumer groups as processes: EV::Kafka's (group-member.pl) and, for
# company, other clients' consumers. What they print is read on the EV loop.

use v5.14;
use warnings;

use Carp           qw(croak);
use Config;
use EV;
use Exporter       qw(import);
use File::Basename qw(dirname);
use IPC::Open3     qw(open3);
use JSON::PP       qw(encode_json);
use Scalar::Util   qw(weaken);

our @EXPORT_OK = qw(wait_until owners_of);

my $PATIENCE = 90;

# start($class, $name, brokers => …, topics => [...], options => {...}, behaviour => {...})
sub start {
    my ($class, $name, %given) = @_;
    return $class->run($name, $^X, (map { "-I$_" } @INC), dirname(__FILE__) . '/group-member.pl',
        map { encode_json($_) } [$given{brokers}], $given{topics}, $given{options}, $given{behaviour} || {});
}

# run($class, $name, @command): any program; each line that it prints is an event.
sub run {
    my ($class, $name, @command) = @_;
    my $self = bless { name => $name, lines => [], records => [], owns => {}, had => {} }, $class;
    $self->{pid} = open3($self->{in}, $self->{out}, undef, @command);
    $self->{out}->blocking(0);
    weaken(my $weak = $self);
    $self->{reader} = EV::io($self->{out}, EV::READ, sub { $weak->_read if $weak });
    return $self;
}

sub _read {
    my ($self) = @_;
    while (my $count = sysread $self->{out}, $self->{buffer}, 65536, length($self->{buffer} // '')) {
        while ($self->{buffer} =~ s/\A([^\n]*)\n//) {
            $self->_note($1);
        }
    }
    return if $!{EAGAIN} || $!{EINTR};
    delete $self->{reader};
    waitpid $self->{pid}, 0;
    $self->{gone} = 1;
    return;
}

sub _note {
    my ($self, $line) = @_;
    if ($line =~ /\Arecord (\S+)\@(\d+) (.*)/) {
        push @{ $self->{records} }, [$1, $2, $3];
        $self->{on_record}->($1, $2, $3) if $self->{on_record};
        return;
    }
    push @{ $self->{lines} }, $line;
    my ($event, $partitions) = $line =~ /\A(assign|revoke) ?(.*)/ or return;
    for my $partition (split ' ', $partitions) {
        my ($key, $offset) = split /\@/, $partition;
        if   ($event eq 'assign') { $self->{owns}{$key} = $offset }
        else                      { delete $self->{owns}{$key}; $self->{had}{$key} = $offset }
    }
    return;
}

sub owns { my ($self) = @_; my @keys = sort keys %{ $self->{owns} }; return @keys }

sub lines { my ($self, $pattern) = @_; return grep { /$pattern/ } @{ $self->{lines} } }

sub tell { my ($self, $command) = @_; syswrite $self->{in}, "$command\n"; return }

sub kill { my ($self, $signal) = @_; kill $signal => $self->{pid}; return }

sub DESTROY {
    my ($self) = @_;
    return if $self->{gone} || !$self->{pid};
    local ($?, $!);
    CORE::kill KILL => $self->{pid};
    waitpid $self->{pid}, 0;
    return;
}

# wait_until($what, $true, @members): runs the loop; dies after a while, with what
# the members said.
sub wait_until {
    my ($what, $true, @members) = @_;
    my $late;
    my $deadline = EV::timer $PATIENCE, 0, sub { $late = 1 };
    my $look     = EV::timer 0.02, 0.02, sub { };
    EV::run EV::RUN_ONCE until $late || $true->();
    return 1 unless $late && !$true->();
    croak join "\n", "not within $PATIENCE s: $what", map { my $member = $_;
        ("$member->{name} owns " . join(' ', $member->owns), map { "  $_" } @{ $member->{lines} }) } @members;
}

# How many partitions each has, when together they have all of them once.
sub owners_of {
    my ($count, @members) = @_;
    my %times;
    $times{$_}++ for map { $_->owns } @members;
    return unless keys %times == $count && !grep { $_ > 1 } values %times;
    return map { scalar $_->owns } @members;
}

1;
