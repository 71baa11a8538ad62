use strict;
use warnings;
use Test::More;

use EV;
use EV::Kafka;
use EV::Kafka::Consumer::Assigned;
use EV::Kafka::Consumer::Delivery;
use EV::Kafka::Consumer::Ends;
use EV::Kafka::Consumer::Progress;
use EV::Kafka::Consumer::Round;
use EV::Kafka::Loop;
use EV::Kafka::Outbox;

# In which order answers are handed to the program, and when, without a client.

# An answer of native code with one partition's records, which are their offsets.
{
    package Native;
    sub new       { my ($class, @records) = @_; return bless { records => \@records, next => $records[0] }, $class }
    sub position  { return ($_[0]{next}, 0) }
    sub interrupt { $_[0]{interrupted} = 1 }

    sub deliver {
        my ($self, undef, $code) = @_;
        $self->{interrupted} = 0;
        while (@{ $self->{records} } && !$self->{interrupted}) {
            my $record = shift @{ $self->{records} };
            $self->{next} = $record + 1;
            $code->($record);
        }
        return @{ $self->{records} } ? 0 : 1;
    }
}

sub delivery {
    my (%options) = @_;
    my (@got, @news);
    my $loop     = EV::Kafka::Loop->new;
    my $settings = { on_message => sub { push @got, $_[0]; $options{on_message}->($_[0]) if $options{on_message} } };
    my $outbox   = EV::Kafka::Outbox->new($loop, $settings, sub { 0 });
    my $assigned = EV::Kafka::Consumer::Assigned->new($settings);
    $assigned->replace([map { { topic => 't', partition => $_, offset => 0 } } 0, 1]);
    my $ends     = EV::Kafka::Consumer::Ends->new(outbox => $outbox, options => $settings, assigned => $assigned);
    my $delivery = EV::Kafka::Consumer::Delivery->new(loop => $loop, outbox => $outbox, options => $settings,
        assigned => $assigned, ends => $ends, progress => EV::Kafka::Consumer::Progress->new(assigned => $assigned),
        news => sub { push @news, "@_" });
    return ($delivery, \@got, $assigned, \@news, $outbox, $settings);
}

# Of one partition, from one broker.
sub answer {
    my ($assigned, $partition, @records) = @_;
    my $entry  = $assigned->find('t', $partition);
    my $cursor = $assigned->cursor($entry);
    my $part   = { assigned => $entry, cursor => $cursor, generation => $cursor->{generation}, index => 0,
        fetched => Native->new(@records), records => scalar @records, from => $records[0], next => $records[-1] + 1, epoch => 0 };
    $cursor->took($records[0], $records[-1] + 1, 0);
    return { node_id => $partition, parts => [$part], rounds => [] };
}

sub turn { EV::run(EV::RUN_NOWAIT) for 1 .. 5; return }

subtest 'nothing is delivered that nobody has asked for' => sub {
    my ($delivery, $got, $assigned, $news) = delivery();
    $delivery->add(answer($assigned, 0, 0 .. 2));
    turn();
    is_deeply $got, [], 'it waits';
    ok $delivery->has_undelivered(0), 'its broker need not be asked';
    ok !$delivery->has_undelivered(1), 'others may';
    $delivery->start;
    is_deeply $got, [], 'not within the call';
    turn();
    is_deeply $got, [0 .. 2], 'from the loop';
    is $assigned->find('t', 0)->{offset}, 3, 'the position has moved';
    like "@$news", qr/delivers takes 0 0/, 'it is told when a broker is free for the next Fetch';
};

subtest 'stopped by a record, and started again' => sub {
    my $delivery;
    ($delivery, my ($got, $assigned)) = delivery(on_message => sub { $delivery->stop if $_[0] == 1 });
    $delivery->start;
    $delivery->add(answer($assigned, 0, 0 .. 3));
    $delivery->add(answer($assigned, 0, 4, 5));
    turn();
    is_deeply $got, [0, 1], 'the next record is not delivered';
    is $assigned->find('t', 0)->{offset}, 2, 'the position is exact';
    $delivery->start;
    turn();
    is_deeply $got, [0 .. 5], 'what it was at comes first';
};

subtest 'polls get what is there, and are called back after that' => sub {
    my ($delivery, $got, $assigned, undef, $outbox) = delivery();
    $delivery->add(answer($assigned, 0, 0, 1));
    my $round = EV::Kafka::Consumer::Round->new($outbox, { calling => 0 }, sub { push @$got, 'polled' });
    $delivery->join($round);
    $round->leaves;
    $delivery->add(answer($assigned, 1, 7));
    turn();
    is_deeply $got, [0, 1, 'polled'], 'and nothing that has come since';
};

subtest 'held by several' => sub {
    my ($delivery, $got, $assigned) = delivery();
    $delivery->start;
    $delivery->hold($_) for qw(one other one);
    $delivery->add(answer($assigned, 0, 0));
    $delivery->release('one');
    turn();
    is_deeply $got, [], 'as long as one of them does';
    ok $delivery->is_held, 'it is known';
    $delivery->release('nobody');
    $delivery->release('other');
    turn();
    is_deeply $got, [0], 'until the last has let go';
};

subtest 'what is kept comes before the rest' => sub {
    my $cursor;
    my ($delivery, $got, $assigned) = delivery(on_message => sub { $cursor->pause if $_[0] == 1 });
    $cursor = $assigned->cursor($assigned->find('t', 0));
    $delivery->start;
    $delivery->add(answer($assigned, 0, 0, 1));
    $delivery->add(answer($assigned, 0, 2, 3));
    turn();
    is_deeply $got, [0, 1], 'paused';
    my @kept = $cursor->resume;
    is scalar @kept, 1, 'an answer was kept';
    $delivery->hold('for a moment');
    $delivery->add(answer($assigned, 0, 4));
    $delivery->add_kept(@kept);
    $delivery->release('for a moment');
    turn();
    is_deeply $got, [0 .. 4], 'in order';
};

subtest 'nobody listens' => sub {
    my ($delivery, $got, $assigned, $news, $outbox, $settings) = delivery();
    my @notices;
    my $on_message = delete $settings->{on_message};
    $settings->{on_notice} = sub { push @notices, $_[0] };
    $delivery->start;
    $delivery->add(answer($assigned, 0, 0, 1));
    turn();
    is scalar @notices, 1, 'a notice';
    like "@$news", qr/unheard/, 'it is told that it waits';
    ok $delivery->is_unheard, 'still nobody';
    $settings->{on_message} = $on_message;
    ok !$delivery->is_unheard, 'somebody';
    turn();
    is_deeply $got, [0, 1], 'nothing was passed over';
};

subtest 'the end' => sub {
    my ($delivery, $got, $assigned, undef, $outbox) = delivery();
    $delivery->add(answer($assigned, 0, 0, 1));
    my $round = EV::Kafka::Consumer::Round->new($outbox, { calling => 0 }, sub { push @$got, @_ });
    $delivery->join($round);
    $round->leaves;
    $delivery->close('client closed');
    turn();
    is_deeply $got, ['client closed'], 'polls hear why';
};

done_testing;
