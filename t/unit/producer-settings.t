use v5.14;
use warnings;

use lib 't/lib';
use EV::Kafka;
use EV::Kafka::Loop;
use EV::Kafka::Options;
use EV::Kafka::Outbox;
use EV::Kafka::Producer::Message;
use EV::Kafka::Producer::Settings;
use EV::Kafka::Strings;
use Test::More;

# Options that batches go by, without a broker.

{
    package Accumulator;
    sub set_options   { my ($self, @given) = @_; push @{ $self->{given} }, \@given; return }
    sub partition_for { my ($self, @about) = @_; push @{ $self->{asked} }, \@about; return 2 }
    package Cluster;
    sub partitions { return 4 }
}

my @notices;

sub settings {
    my (%options) = @_;
    @notices = ();
    my $options     = EV::Kafka::Options->parse(brokers => 'nowhere:1', on_notice => sub { push @notices, $_[0] }, %options);
    my $accumulator = bless { given => [], asked => [] }, 'Accumulator';
    my $outbox      = EV::Kafka::Outbox->new(EV::Kafka::Loop->new, $options, sub { 0 });
    my $settings    = EV::Kafka::Producer::Settings->new(options => $options, outbox => $outbox, cluster => bless({}, 'Cluster'), accumulator => $accumulator);
    return ($settings, $options, $accumulator);
}

sub died { my ($code) = @_; return eval { $code->(); 1 } ? '' : $@ }

sub message { my (%about) = @_; return bless { topic => 't', %about }, 'EV::Kafka::Producer::Message' }

subtest 'options are applied when they have changed' => sub {
    my ($settings, $options, $accumulator) = settings(acks => 1, compression => 'gzip', batch_size => 1000);
    $settings->apply for 1 .. 3;
    is scalar(@{ $accumulator->{given} }), 1, 'once';
    my ($given, $partitioner, $seen) = @{ $accumulator->{given}[0] };
    is_deeply [@$given{qw(acks compression batch_size sticky)}], [1, 'gzip', 1000, 0], 'as they are';
    is $partitioner, \$options->{partitioner}, 'with the place of the partitioner';
    is $seen, $options, 'and of all';
    @$options{qw(acks batch_size partitioner)} = (0, 500, 'sticky');
    $settings->apply;
    is_deeply [@{ $accumulator->{given}[1][0] }{qw(acks batch_size batch_limit sticky)}], [0, 500, 500, 1],
        'and again when they are others: a size that the program gives is the most that a batch has';
    is_deeply \@notices, [], 'nothing is said of that';
};

subtest 'what cannot be' => sub {
    my ($settings, $options) = settings(acks => 1);
    $settings->apply;
    my %wrong = (acks => 7, batch_size => 'large', compression => 'lzma', linger_ms => -1, partitioner => 'random');
    for my $name (sort keys %wrong) {
        my $before = $options->{$name};
        $options->{$name} = $wrong{$name};
        $settings->apply for 1 .. 2;
        is $options->{$name}, $before, "$name stays as it was";
        like $notices[0], qr/^option '?$name/, 'which is said';
        is scalar(@notices), 1, 'once';
        @notices = ();
    }
    $options->{acks} = 7;
    $settings->apply;
    $options->{acks} = 0;
    $settings->apply;
    $options->{acks} = 7;
    $settings->apply;
    is scalar(@notices), 2, 'and again when it was right in between';
};

subtest 'an idempotent producer' => sub {
    my ($settings, $options) = settings(idempotent => 1);
    $options->{acks} = 1;
    $settings->apply;
    is $options->{acks}, -1, 'needs all acknowledgements';
    like $notices[0], qr/an idempotent producer needs acks -1: acks 1 is taken as -1/, 'which is said';
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    is $settings->own_acks($_), undef, "a message's own, $_, are the client's" for 0, 1, -1;
    is scalar(@warnings), 1, 'with one warning';
    is $settings->is_acknowledged(0), -1, 'there will be an answer';
};

subtest 'acknowledgements of a message' => sub {
    my ($settings, $options) = settings(acks => 1);
    is $settings->own_acks(undef), undef, 'none';
    is $settings->own_acks(1), undef, "the client's";
    is $settings->own_acks(0), 0, 'others';
    $options->{acks} = 0;
    is $settings->own_acks(0), undef, 'what is changed counts at once';
    is $settings->is_acknowledged, 0, 'nobody answers';
    is $settings->is_acknowledged(1), 1, 'unless the message asks for it';
};

subtest 'where a message belongs' => sub {
    my ($settings, $options, $accumulator) = settings();
    is $settings->has_partitioner, 0, 'no partitioner';
    is $settings->partition_of(message(key => 'sent', given_key => 'given')), 2, 'the default';
    is_deeply $accumulator->{asked}, [['t', 'sent']], 'goes by the bytes that are sent';
    my (@asked, $answer);
    $options->{partitioner} = sub { push @asked, [@_]; return $answer };
    is $settings->has_partitioner, 1, 'a partitioner';
    for my $good (0, 3, '1') {
        $answer = $good;
        is $settings->partition_of(message(key => 'sent', given_key => 'given')), $good, "says $good";
        is $settings->chosen('t', $good), $good, 'which is also true of one that was asked natively';
    }
    is_deeply \@asked, [(['t', 'given', 4]) x 3], 'of the key that the program has given';
    for my $bad (4, -1, undef, 'x', 1.5, '') {
        $answer = $bad;
        like died(sub { $settings->choose_partition('t', 'k') }), qr/\Aproduce: partitioner must return a partition from 0 to 3 for topic 't' at \Q$0\E/, 'not ' . ($bad // 'undef');
        like died(sub { $settings->chosen('t', $bad) }), qr/\Aproduce: partitioner must return a partition from 0 to 3 for topic 't' at \Q$0\E/, 'nor natively';
    }
    $options->{partitioner} = sub { die "no idea\n" };
    is died(sub { $settings->choose_partition('t', 'k') }), "no idea\n", 'what it dies of is thrown';
    $options->{partitioner} = sub { no warnings; last OUTER };
    OUTER: { like died(sub { $settings->choose_partition('t', 'k') }), qr/^Label not found/, 'and it cannot leave' }
};

done_testing;
