package Rooms;
use v5.14;
use warnings;

use File::Find qw(find);

use Circles qw(circles);

# Reads the Perl modules of a directory and says who calls whom, who writes what, and where
# a module reaches into another. It reads text, not the symbols of a running program, so that it
# sees what is never called as well: a receiver is known by its name ($self->{cluster} and $cluster
# are an EV::Kafka::Cluster), everything else by a name of a method that only one module has.

# No receiver is longer in characters.
use constant RECEIVER_LENGTH => 200;

# Receivers that are native, or EV's.
my %IS_NATIVE = map { $_ => 1 } qw(conn control_conn accumulator timer watcher answer known adoption);

# What a broker has answered, and entries of lists that programs see: hashes without a class, though a part
# of the consumer's has the same name.
my %IS_PLAIN = map { $_ => 1 } qw(answer broker assigned position record);

# Everybody has them, or Perl has.
my %IS_COMMON = map { $_ => 1 } qw(new can isa import DESTROY AUTOLOAD VERSION);

# What is called $self where it was put aside for later.
my %IS_SELF = map { $_ => 1 } qw(self weak object class __PACKAGE__ shift);

# Records that several rooms know, by the name of the variable.
my @RECORDS = qw(group cursor op link fetch round txn transaction entry control batch);

# new($directory, 'EV::Kafka::Client'): all modules in it, of which the second is put together
# from its parents.
sub new {
    my ($class, $directory, $client) = @_;
    my $self = bless { client => $client, modules => {} }, $class;
    my @files;
    find({ no_chdir => 1, wanted => sub { push @files, $_ if /\.pm\z/ } }, $directory);
    for my $file (sort @files) {
        my $module = _read($file, $directory);
        $self->{modules}{ $module->{name} } = $module;
    }
    for my $module ($self->modules) {
        push @{ $self->{defines}{$_} }, $module->{name} for sort keys %{ $module->{subs} };
        push @{ $self->{named}{ _variable_of($module->{name}) } }, $module->{name};
    }
    $self->{is_part} = { map { $_ => 1 } $self->parents($client) };
    $self->_find_calls($_) for $self->modules;
    return $self;
}

sub modules { my ($self) = @_; return map { $self->{modules}{$_} } sort keys %{ $self->{modules} } }

# Parents among the modules.
sub parents { my ($self, $name) = @_; return grep { $self->{modules}{$_} } @{ $self->{modules}{$name}{parents} || [] } }

# --- reading --------------------------------------------------------------------------

sub _read {
    my ($file, $directory) = @_;
    open my $in, '<', $file or die "$file: $!";
    my $text = do { local $/; <$in> };
    $text =~ s/^__END__\n.*//ms;
    $text =~ s/^=\w.*?(?:^=cut\n|\z)//msg;
    $text =~ s/(?:^|(?<=\s))#(?:\s.*)?$//mg;
    my ($name) = $text =~ /^package ([\w:]+);/m;
    return {
        name    => $name,
        text    => $text,
        subs    => { map { $_ => 1 } $text =~ /^\s*sub (\w+)/mg },
        parents => [_parents($text)],
        uses    => [$text =~ /^use ([A-Z][\w:]*)/mg, $text =~ /\brequire ([A-Z][\w:]*)/g],
    };
}

sub _parents {
    my ($text) = @_;
    return map { s/['",]//gr } map { split ' ' } $text =~ /^use parent (?:qw\()?([^;)]*)/mg;
}

# EV::Kafka::Group::ConsumerProtocol is kept as consumer_protocol.
sub _variable_of {
    my ($name) = @_;
    return lc(($name =~ s/.*:://r) =~ s/(?<=[a-z])(?=[A-Z])/_/gr);
}

# The first part of a name below that of the client: EV::Kafka::Cluster of EV::Kafka::Cluster::Link.
sub _room_of { my ($name) = @_; return $name =~ /\A(EV::Kafka::\w+)/ ? $1 : $name }

# --- calls ----------------------------------------------------------------------------

sub _find_calls {
    my ($self, $module) = @_;
    my $text = $module->{text};
    my $own  = $module->{name};
    for my $used (@{ $module->{uses} }, @{ $module->{parents} }) {
        $self->_call($module, $used, undef, 'use') if $self->{modules}{$used} && $used ne $own;
    }
    while ($text =~ /\b((?:EV::Kafka)(?:::[A-Z]\w*)*)(?:->|::)(\w+)/g) {
        my ($class, $name) = ($1, $2);
        next unless $self->{modules}{$class} && $class ne $own;
        next if $self->{modules}{"${class}::$name"};    # a longer name of a module
        next if $class eq 'EV::Kafka' && !$self->{modules}{$class}{subs}{$name};    # native
        $self->_call($module, $class, $name, "$class $name");
    }
    while ($text =~ /->(\w+)\b(?!\s*=>)/g) {
        my ($name, $at) = ($1, $-[0]);
        my $start    = $at > RECEIVER_LENGTH ? $at - RECEIVER_LENGTH : 0;
        my $receiver = _receiver(substr $text, $start, $at - $start);
        next if $receiver =~ /\AEV::/;
        my $class = $self->_class_with($module, $receiver, $name) // next;
        $self->_call($module, $class, $name, "\$$receiver $name") if $class ne $own;
    }
    # Methods that are called by their names, as those of timers are.
    while ($text =~ /'(_\w+)'|\b(_\w+)(?=\s*=>)/g) {
        my $name  = $1 // $2;
        next if $module->{subs}{$name};
        my $class = $self->_class_of_self($module, $name) // $self->_only_class_with($name) // next;
        $self->_call($module, $class, $name, "'$name'") if $class ne $own;
    }
    return;
}

# The name that says what is called: of $self->{cluster} it is cluster, of $self->{links}{$key} link.
sub _receiver {
    my ($before) = @_;
    my $subscript = qr/(?:->)?(?:\{(?:[^{}]|\{[^{}]*\})*\}|\[[^\[\]]*\])/;
    $before =~ /(\$\w+|__PACKAGE__|\bshift|\b[A-Z]\w*(?:::\w+)+)((?:$subscript)*)\z/ or return '';
    my ($variable, $subscripts) = ($1, $2);
    return $variable =~ s/\A\$//r unless length $subscripts;
    my @keys = $subscripts =~ /($subscript)/g;
    return $1 if $keys[-1] =~ /\{\s*(\w+)\s*\}\z/;
    my $container = @keys > 1 && $keys[-2] =~ /\{\s*(\w+)\s*\}\z/ ? $1 : @keys == 1 ? $variable =~ s/\A\$//r : '';
    return $container =~ s/s\z//r;
}

sub _class_with {
    my ($self, $module, $receiver, $name) = @_;
    return if $IS_NATIVE{$receiver};
    if ($IS_SELF{$receiver}) {
        return $module->{name} if $module->{subs}{$name};
        return $self->_class_of_self($module, $name);
    }
    return $self->_method_of_client($name) // $self->{client} if $receiver eq 'client';
    my @named = @{ $self->{named}{$receiver} || [] };
    if (@named) {
        my @with = grep { $self->{modules}{$_}{subs}{$name} } @named;
        @named = @with if @with;
        my @near = grep { _room_of($_) eq _room_of($module->{name}) } @named;
        return (@near ? @near : @named)[0] unless $self->{is_part}{ $named[0] } && !@with;
    }
    return $self->_only_class_with($name);
}

sub _class_of_self {
    my ($self, $module, $name) = @_;
    return $self->_method_of_client($name) if $self->{is_part}{ $module->{name} } || $module->{name} eq $self->{client};
    for my $parent ($self->parents($module->{name})) {
        return $parent if $self->{modules}{$parent}{subs}{$name};
    }
    return;
}

sub _method_of_client {
    my ($self, $name) = @_;
    my ($home) = grep { $self->{modules}{$_}{subs}{$name} } $self->{client}, $self->parents($self->{client});
    return $home;
}

sub _only_class_with {
    my ($self, $name) = @_;
    return if $IS_COMMON{$name};
    my $classes = $self->{defines}{$name} || [];
    return @$classes == 1 ? $classes->[0] : undef;
}

sub _call {
    my ($self, $from, $to, $name, $how) = @_;
    $self->{arrows}{ $from->{name} }{$to}{$how} = 1;
    $self->{private}{"$from->{name} $to $name"}++
        if defined $name && $name =~ /\A_[a-z]/ && $self->{modules}{$to}{subs}{$name};    # others are native
    return;
}

# --- measures ---------------------------------------------------------------------------

# Each is a list of lines, which is empty where all is in order:
#   circle   modules from which a way leads back to themselves
#   arrow    the arrows between those
#   private  calls of another module's private methods
#   cfg      keys of {cfg}, and record: of other hashes, that more than one module writes to
#   field    looks into the hash of another room's object
#   parent   modules of ours that the client inherits from
#   closed   places that look whether the client is closed
#   event    events without a listener, and listeners without an event
sub measures {
    my ($self) = @_;
    return {
        circle  => [map { @$_ } circles($self->{arrows})],
        arrow   => [$self->_arrows_in_circles],
        private => [map { s/ (\S+)\z/::$1/r } sort keys %{ $self->{private} || {} }],
        cfg     => [$self->_written_twice('cfg', qr/\$cfg|\$\w+(?:->)?\{cfg\}|\$_\[0\]\{cfg\}|\$\w+->\{options\}/)],
        record  => [map { $self->_written_twice($_, qr/\$$_\b/) } @RECORDS],
        field   => [$self->_foreign_fields],
        parent  => [$self->parents($self->{client})],
        closed  => [$self->_looks_at_closed],
        event   => [$self->_events_without_listener],
    };
}

sub arrows {
    my ($self) = @_;
    my $arrows = $self->{arrows};
    return map { my $from = $_; map { "$from $_" } sort keys %{ $arrows->{$from} } } sort keys %$arrows;
}

# With what is called there.
sub _arrows_in_circles {
    my ($self) = @_;
    my %circle;
    my @circles = circles($self->{arrows});
    for my $number (0 .. $#circles) { $circle{$_} = $number for @{ $circles[$number] } }
    return map {
        my ($from, $to) = split ' ';
        defined $circle{$from} && ($circle{$to} // -1) == $circle{$from}
            ? "$_: " . join ', ', sort keys %{ $self->{arrows}{$from}{$to} } : ();
    } $self->arrows;
}

# Keys of a hash that more than one module writes to, but for those that make it before there
# is a client.
sub _written_twice {
    my ($self, $what, $base) = @_;
    my %writers;
    for my $module (grep { $_->{name} !~ /::(?:Options|Security)\z/ } $self->modules) {
        $writers{$_}{ $module->{name} } = 1 for _written_keys($module->{text}, $base);
    }
    return map { "$what {$_}: " . join ' ', sort keys %{ $writers{$_} } } grep { keys %{ $writers{$_} } > 1 } sort keys %writers;
}

sub _written_keys {
    my ($text, $base) = @_;
    my $subscripts = qr/(?:(?:->)?(?:\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}|\[[^\[\]]*\]))*/;
    my $target = qr/(?:$base)(?:->)?\{\s*(\w+)\s*\}$subscripts/;
    my $slice  = qr/\@(?:(?:$base)|\{\s*(?:$base)\s*\})\{\s*(?:qw\(([^)]*)\))/;
    my $assign = qr/\s*(?:=(?![=~>])|(?:\|\||\/\/|&&|[-+.*x])=(?!=)|\+\+|--)/;
    my @keys;
    push @keys, $1 while $text =~ /$target$assign/g;
    push @keys, $1 while $text =~ /(?:\bdelete|\blocal|\+\+|--)\s*\(?\s*$target/g;
    push @keys, $1 while $text =~ /\b(?:push|unshift|splice|shift|pop|delete)\s*\(?\s*[\@%]\{\s*$target/g;
    push @keys, $1 while $text =~ /[\@%]\{\s*$target\s*\}(?:\{[^}]*\})?$assign/g;
    push @keys, split ' ', $1 while $text =~ /$slice[^}]*\}$assign/g;
    push @keys, split ' ', $1 while $text =~ /\bdelete\s+$slice/g;
    return @keys;
}

# Looks of a room into the hash of another room's object.
sub _foreign_fields {
    my ($self) = @_;
    my %found;
    for my $module ($self->modules) {
        while ($module->{text} =~ /(?:\$(?:self|client|weak)->\{(\w+)\}(?:->)?|\$(\w+)->)\{\s*(\w+)\s*\}/g) {
            my ($variable, $key) = ($1 // $2, $3);
            next if $IS_SELF{$variable} || $IS_PLAIN{$variable} || $variable eq 'options';    # they are read at use, by everybody
            my @classes = grep { !$self->{is_part}{$_} || $_ eq 'EV::Kafka::Group' } @{ $self->{named}{$variable} || [] } or next;
            next if grep { _room_of($_) eq _room_of($module->{name}) } @classes;
            # A hash that the module makes itself, and calls by that name.
            next if $module->{text} =~ /(?:\$|\{)\Q$variable\E\}?\s*=\s*\{/;
            $found{ $module->{name} . " \$$variable" . "->{$key}" } = 1;
        }
    }
    return sort keys %found;
}

sub _looks_at_closed {
    my ($self) = @_;
    my @places;
    # A membership of a group that has ended is something else.
    for my $module (grep { $_->{name} !~ /::Group::Member\z/ } $self->modules) {
        my $text  = $module->{text} =~ s/^sub has_ended .*//mr;
        my $count = () = $text =~ /\{(?:closed|is_closed|has_ended)\}(?!\s*=[^=])|->_?is_closed\b|->_has_ended\b|outbox\}->has_ended\b/g;
        push @places, ($module->{name}) x $count;
    }
    return @places;
}

# $tells->(name => …) in an owner, and 'owner name' => sub … in the table of the client.
sub _events_without_listener {
    my ($self) = @_;
    my %told   = map { $_ => 1 } $self->events;
    my %heard  = map { $_ => 1 } map { $_->{text} =~ /^\s*'(\w+ \w+)'\s*=> sub/mg } $self->{modules}{ $self->{client} };
    return sort((grep { !$heard{$_} } map { "$_" } keys %told), (map { "$_ (never told)" } grep { !$told{$_} } keys %heard));
}

# 'owner name' of each.
sub events {
    my ($self) = @_;
    my %events;
    for my $module ($self->modules) {
        my $owner = _variable_of(_room_of($module->{name}));
        $events{"$owner $_"} = 1 for $module->{text} =~ /(?:\{tells\}|\$tells)->\(\s*'?(\w+)/g;
    }
    return sort keys %events;
}

1;
