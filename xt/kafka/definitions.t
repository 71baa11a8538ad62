use v5.14;
use warnings;

use lib 'script/lib';

use IO::Uncompress::Unzip qw($UnzipError);
use JSON::PP ();
use Test::More;

use KafkaCluster;

# The messages that rust/kafka-wire declares are those of Kafka's own definitions, field by field: types, versions,
# defaults and all. The newest Kafka has the newest versions, an old one those that it has dropped meanwhile.

my @VERSIONS = ('4.4.0', '3.9.1');

# A word of Rust's, which has another name here; and a field that Kafka has given a new name since.
my %RENAMED = (match => 'matched');
my %NEW_NAME = (TxnOffsetCommitRequest => { generation_id_or_member_epoch => 'generation_id' });

# What is read as bytes, whole or in pieces.
my %SAME_TYPE = (records => 'bytes', pieces => 'bytes');

my %definition = map { $_ => definitions($_) } @VERSIONS;

# The definitions in the client's jar: name => parsed.
sub definitions {
    my ($version) = @_;
    my ($jar) = glob KafkaCluster::fetch($version) . "/kafka-clients-$version.jar";
    my $zip = IO::Uncompress::Unzip->new($jar) or die "$jar: $UnzipError";
    my %found;
    for (my $status = 1; $status > 0; $status = $zip->nextStream) {
        my ($name) = $zip->getHeaderInfo->{Name} =~ m{^common/message/(\w+)\.json\z};
        my $text = '';
        1 while $zip->read($text, 1 << 16, length $text) > 0;
        next unless defined $name;
        $text =~ s{^\s*//.*$}{}mg;
        $found{$name} = JSON::PP->new->decode($text);
    }
    return \%found;
}

# What rust/kafka-wire declares: name => { file, fields => [{ name, type, … }] }, with the parts of each file.
sub declared {
    my %declared;
    for my $file (glob 'rust/kafka-wire/src/messages/*.rs') {
        my $text = do { local (@ARGV, $/) = $file; <> };
        my %parts;
        while ($text =~ /^    (\w+) (\w+)(?: for \w+)?(?: -> \w+)?(?:, partial \w+)? \{\n(.*?)^    \}/msg) {
            my ($kind, $name, $body) = ($1, $2, $3);
            my @fields;
            while ($body =~ /^        (\w+): (\S+), "([^"]+)"(.*);$/mg) {
                my ($field, $type, $versions, $rest) = ($1, $2, $3, $4);
                push @fields, {
                    name => $field, type => $type, versions => $versions,
                    nullable  => $rest =~ /nullable "([^"]+)"/ ? "$1" : '',
                    default   => $rest =~ /default ([^,]+)/ ? "$1" : '',
                    tag       => $rest =~ /tag (\d+)/ ? "$1" : '',
                    ignorable => $rest =~ /ignorable true/ ? 1 : 0,
                };
            }
            $parts{$name}    = { fields => \@fields, file => $file, parts => \%parts };
            $declared{$name} = $parts{$name} if $kind =~ /^(?:request|response)$/;
        }
    }
    return \%declared;
}

sub snake_case {
    my ($name) = @_;
    $name =~ s/ID\z/Id/;
    $name =~ s/(?<=[a-z0-9])([A-Z])/_$1/g;
    return $RENAMED{ lc $name } // lc $name;
}

# The versions that a notation names, up to the newest.
sub numbers {
    my ($notation, $newest) = @_;
    return () if !defined $notation || $notation eq '' || lc $notation eq 'none';
    my ($first, $rest) = $notation =~ /\A(\d+)(\+|-\d+)?\z/ or die "no versions: $notation";
    my $last = !defined $rest ? $first : $rest eq '+' ? $newest : substr $rest, 1;
    return $first .. ($last < $newest ? $last : $newest);
}

# What Kafka says of a message and its parts, at the versions that this Kafka knows: path => description by version.
sub theirs {
    my ($message, $definition) = @_;
    my ($oldest, $newest) = $definition->{validVersions} =~ /\A(\d+)(?:-(\d+))?\z/ or return {};
    $newest //= $oldest;
    my %struct = map { $_->{name} => $_->{fields} } @{ $definition->{commonStructs} || [] };
    my %said;
    my $walk;
    $walk = sub {
        my ($path, $fields) = @_;
        for my $field (@$fields) {
            my $own  = snake_case($field->{name});
            my $name = join '.', $path || (), $NEW_NAME{$message}{$own} // $own;
            my ($inner) = $field->{type} =~ /\A(?:\[\])?(\w+)\z/;
            my $parts = $field->{fields} || $struct{$inner};
            my %nullable = map { $_ => 1 } numbers($field->{nullableVersions}, $newest);
            for my $version (grep { $_ >= $oldest } numbers($field->{versions}, $newest)) {
                $said{$name}{$version} = describe(
                    type => $parts ? ($field->{type} =~ /\A\[\]/ ? '[part]' : 'part') : $field->{type} =~ s/\A\[\](.*)/[$1]/r,
                    nullable => $nullable{$version} ? 1 : 0, tag => $field->{tag} // '', default => default_of($field, $parts));
            }
            $walk->($name, $parts) if $parts;
        }
    };
    $walk->('', $definition->{fields});
    return ($oldest, $newest, \%said);
}

sub default_of {
    my ($field, $parts) = @_;
    my $default = $field->{default} // '';
    return 'null' if $default eq 'null';
    return $default eq 'true' || $default eq 'True' ? 'true' : '' if $field->{type} eq 'bool';
    $default = hex $default if $default =~ /\A0x/;
    return $default =~ /\A-?\d+\z/ && $default != 0 ? $default : '';
}

sub describe { my (%about) = @_; $about{type} = $about{type} =~ s/(\w+)/$SAME_TYPE{$1} \/\/ $1/er; return join ' ', map { "$_=$about{$_}" } sort keys %about }

# The same of a declaration.
sub ours {
    my ($declared, $oldest, $newest) = @_;
    my %said;
    my $walk;
    $walk = sub {
        my ($path, $fields) = @_;
        for my $field (@$fields) {
            my $name = join '.', $path || (), $field->{name};
            my ($inner) = $field->{type} =~ /\A\[?(\w+)\]?\z/;
            my $part = $declared->{parts}{$inner};
            my %nullable = map { $_ => 1 } numbers($field->{nullable}, $newest);
            my $default  = { None => 'null', 'i32::MIN' => -2_147_483_648, 'i32::MAX' => 2_147_483_647, 'i64::MAX' => '9223372036854775807' }->{ $field->{default} } // $field->{default};
            $default = '' if $default eq '0' || $default eq 'false';
            for my $version (grep { $_ >= $oldest } numbers($field->{versions}, $newest)) {
                $said{$name}{$version} = describe(
                    type => $part ? ($field->{type} =~ /\A\[/ ? '[part]' : 'part') : $field->{type},
                    nullable => $nullable{$version} ? 1 : 0, tag => $field->{tag}, default => $default);
            }
            $walk->($name, $part->{fields}) if $part;
        }
    };
    $walk->('', $declared->{fields});
    return \%said;
}

# The newest version of each API that is spoken.
my $api = do { local (@ARGV, $/) = 'rust/kafka-wire/src/api.rs'; <> };
my %spoken = map { $_->[0] => [@$_[1, 2]] } map { [/(\w+) = \d+, speaks (\d+)\.\.=(\d+)/] } $api =~ /^    (\w+ = \d+, speaks \d+\.\.=\d+)/mg;

my $declared = declared();
for my $name (sort keys %$declared) {
    my ($of) = $name =~ /\A(\w+?)(?:Request|Response)\z/;
    my ($first, $last) = @{ $spoken{$of} || [] };
    ok defined $last, "$name is spoken" or next;
    my %held;
    for my $version (@VERSIONS) {
        my $definition = $definition{$version}{$name} or next;
        my ($oldest, $newest, $theirs) = theirs($name, $definition);
        next unless defined $oldest;
        $oldest = $first if $oldest < $first;
        $newest = $last  if $newest > $last;
        $held{$_} = 1 for $oldest .. $newest;
        my $ours = ours($declared->{$name}, $oldest, $newest);
        for my $said ($theirs, $ours) {
            for my $field (keys %$said) {
                delete @{ $said->{$field} }{ grep { $_ < $oldest || $_ > $newest } keys %{ $said->{$field} } };
                delete $said->{$field} unless %{ $said->{$field} };
            }
        }
        is_deeply $ours, $theirs, "$name as Kafka $version defines it";
    }
    is_deeply [grep { !$held{$_} } $first .. $last], [], "$name: every version is held against a definition";
}
done_testing;
