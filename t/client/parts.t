use v5.14;
use warnings;

use B ();
use EV::Kafka;
use Test::More;

# The client is the face of owners that it holds: it is put together from none of them, and
# answers to no name that is not meant as a method.

is_deeply [@EV::Kafka::Client::ISA], [], 'it has no parents';

# Perl's own names, and what a module has imported, lie elsewhere.
sub defined_in {
    my ($sub) = @_;
    return B::svref_2object($sub)->GV->STASH->NAME;
}

no strict 'refs';
my @foreign = grep { defined &{"EV::Kafka::Client::$_"} && defined_in(\&{"EV::Kafka::Client::$_"}) ne 'EV::Kafka::Client' }
    sort keys %EV::Kafka::Client::;
is_deeply \@foreign, [], 'nor any method that was made for something else';

my $kafka = EV::Kafka->new(on_error => sub { });
for my $owner (qw(cluster coordinators offsets consumer producer group transactions)) {
    is ref $kafka->{$owner}, 'EV::Kafka::' . ucfirst $owner, "$owner is an owner";
    is_deeply [grep { ref $kafka->{$owner}{$_} eq ref $kafka } keys %{ $kafka->{$owner} }], [], 'which does not hold the client';
}

done_testing;
