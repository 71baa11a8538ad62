use v5.14;
use warnings;

use lib 'xt/lib';

use File::Find qw(find);
use File::Temp qw(tempdir);
use Test::More;

use Rooms;

# Each module has its own state, calls go down only, and nobody reaches into another. ROOMS=1 in
# the environment, or the names of some of these, lists the places.
my %MOST = (
    circle  => 0,
    arrow   => 0,
    private => 0,
    cfg     => 0,
    record  => 0,
    field   => 0,
    parent  => 0,
    closed  => 8,
    event   => 0,
);

subtest 'what is looked for is found' => sub {
    my $directory = tempdir(CLEANUP => 1);
    my %module = (
        'X/Client.pm'  => q{use parent qw(EV::Kafka::Part); sub go { my ($self) = @_; $self->_part; $self->{cluster}->look; return $self->{cfg}{closed} }},
        'X/Part.pm'    => q{sub _part { my ($self) = @_; $self->{cfg}{shared} = 1; $self->go; return $self->{cluster}{secret} }},
        'X/Cluster.pm' => q{sub look { my ($self) = @_; $self->{cfg}{shared}++; $self->{tells}->(news => 1); EV::Kafka::Part::_part($self) } # sub not { $self->_read }},
        'X/Alone.pm'   => q{sub alone { my ($self) = @_; return $self->{cfg}{closed} = 1 }},
    );
    for my $file (sort keys %module) {
        mkdir "$directory/X";
        my ($name) = $file =~ m{/(\w+)};
        open my $out, '>', "$directory/$file" or die "$file: $!";
        my $code = $module{$file} =~ s/ (?=sub |#)/\n/gr;
        print $out "package EV::Kafka::$name;\n\n=head1 NAME\n\n\$self->_in_the_documentation\n\n=cut\n\n$code\n";
        close $out;
    }
    my $found = Rooms->new($directory, 'EV::Kafka::Client')->measures;
    my @in    = map { "EV::Kafka::$_" } qw(Client Cluster Part);
    is_deeply $found->{circle},  \@in, 'circles';
    is_deeply $found->{arrow}, ["$in[0] $in[1]: \$cluster look", "$in[0] $in[2]: \$self _part, use", "$in[1] $in[2]: $in[2] _part",
        "$in[2] $in[0]: \$self go"], 'their arrows';
    is_deeply $found->{private}, ["$in[0] $in[2]::_part", "$in[1] $in[2]::_part"], 'private methods';
    is_deeply $found->{cfg},     ["cfg {shared}: $in[1] $in[2]"], 'keys with two writers';
    is_deeply $found->{field},   ["$in[2] \$cluster->{secret}"],  'fields of others';
    is_deeply $found->{parent},  [$in[2]], 'parents';
    is_deeply $found->{closed},  [$in[0]], 'looks at closed';
    is_deeply $found->{event},   ['cluster news'], 'events that nobody hears';
};

my $rooms = Rooms->new('lib', 'EV::Kafka::Client');
my $found = $rooms->measures;
my $shown = $ENV{ROOMS} // '';
for my $what (sort keys %MOST) {
    my @places = @{ $found->{$what} };
    cmp_ok scalar @places, '<=', $MOST{$what}, "$what: at most $MOST{$what}"
        or $shown =~ /$what/ or diag "ROOMS=$what lists the places";
    diag "$what: ", scalar(@places), map { "\n    $_" } @places if $shown eq '1' || $shown =~ /\b$what\b/;
}
# What the documentation lets programs read and write, beside the options, and call.
my %PUBLISHED = map { $_ => 1 } qw(bootstrap meta bootstrap_conn conns leaders broker_map assignments group producer_id producer_epoch
    pending_ops _linger_active _linger_timer _topic_meta_tries);
my %SEAM = map { $_ => 1 } qw(_assign_partitions _merge_metadata _refresh_metadata _refresh_metadata_for_topic _drain_pending_for _flush_all_batches);

subtest 'tests look into a client by one module only' => sub {
    my $options  = do { local (@ARGV, $/) = 'lib/EV/Kafka/Options.pm'; <> };
    my %is_known = (%PUBLISHED, map { $_ => 1 } $options =~ /^    (\w+)\s*=>/mg);
    my @files;
    find({ no_chdir => 1, wanted => sub { push @files, $_ if /\.(?:pm|pl|t)\z/ && !m{/Inside\.pm\z|\Axt/rooms\.t\z} } }, qw(t xt eg bench));
    my @found;
    for my $file (sort @files) {
        my $text = do { local (@ARGV, $/) = $file; <> };
        push @found, map { "$file: {cfg}{$_}" } grep { !$is_known{$_} } $text =~ /\{cfg\}(?:->)?\{\s*(\w+)/g;
        push @found, map { "$file: $_" } grep { !$SEAM{$_} } $text =~ /(?:\$kafka|\{kafka\})->(_\w+)/g;
        push @found, map { "$file: $_" } $text =~ /\b(EV::Kafka::(?!Conn\b|Client::_merge_metadata|Mock\b)\w+(?:->|::)_\w+)/g;
    }
    is_deeply \@found, [], 't/lib/Inside.pm';
};

note 'events: ', join ', ', $rooms->events;

done_testing;
