package EV::Kafka::Tool::Config;
use strict;
use warnings;

use EV::Kafka::Options::Librdkafka;

# Properties by librdkafka's names, from a file, the environment and the command line: what comes later counts.

use constant DEFAULT_BROKERS => '127.0.0.1:9092';

# In capitals and with KAFKA_ in front of it, in the environment.
my %VARIABLE = ((map { 'KAFKA_' . uc tr/./_/r => $_ } EV::Kafka::Options::Librdkafka->properties), KAFKA_BROKERS => 'bootstrap.servers');

sub properties {
    my ($class, $option) = @_;
    my %properties = ('bootstrap.servers' => DEFAULT_BROKERS);
    my $file = $option->{'config-file'} // $ENV{EV_KAFKA_CONFIG} // _usual_file();
    %properties = (%properties, $class->of_file($file)) if defined $file;
    for my $variable (sort grep { length $ENV{$_} } grep { exists $ENV{$_} } keys %VARIABLE) {
        $properties{ $VARIABLE{$variable} } = $ENV{$variable};
    }
    %properties = (%properties, map { _pair($_, "-X $_") } @{ $option->{property} || [] });
    $properties{'bootstrap.servers'} = $option->{brokers} if defined $option->{brokers};
    return \%properties;
}

sub _usual_file {
    my ($file) = map { "$_/.config/ev-kafka.conf" } grep { defined && length } $ENV{HOME};
    return defined $file && -e $file ? $file : undef;
}

sub of_file {
    my ($class, $file) = @_;
    open my $in, '<', $file or die "cannot read $file: $!\n";
    my @pairs;
    while (my $line = <$in>) {
        $line =~ s/\A\s+|\s+\z//g;
        next if $line eq '' || $line =~ /\A#/;
        push @pairs, _pair($line, "$file line $.");
    }
    close $in;
    return @pairs;
}

sub _pair {
    my ($line, $where) = @_;
    my ($name, $value) = $line =~ /\A([^=\s]+)\s*=\s*(.*)\z/s or die "$where: NAME=VALUE expected\n";
    return ($name, $value);
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Config - what ev-kafka connects with

=head1 DESCRIPTION

For L<EV::Kafka::Tool>, not for use by itself.

=head1 METHODS

=head2 properties(\%option)

A hash of properties by librdkafka's names: from the file that C<config-file>, EV_KAFKA_CONFIG or habit names, the environment, and
the options C<property> and C<brokers>.

=head2 of_file($name)

The pairs in a file.

=head1 SEE ALSO

L<ev-kafka>

=cut
