use strict;
use warnings;

use EV::Kafka;
use EV::Kafka::Error;
use Test::More;

# What an error code means: one table for all who ask.

subtest 'an answer' => sub {
    my $error = EV::Kafka::Error->of_code(16);
    is_deeply [map { $error->$_ } qw(code name text retriable)],
        [16, 'NOT_COORDINATOR', 'NOT_COORDINATOR (code 16)', 1], 'has a code, a name, a text, and may be retriable';
    is $error->of('EndTxn')->text, 'EndTxn: NOT_COORDINATOR (code 16)', 'said of a request';
    is $error->of('EndTxn')->code, 16, 'which keeps its code';
    is $error->text, 'NOT_COORDINATOR (code 16)', 'and leaves the error as it is';
    my $told = $error->of('EndTxn')->given_up('after 3 s')->of('commit');
    is $told->text, 'commit: EndTxn: NOT_COORDINATOR (code 16); given up after 3 s', 'as often as need be';
    is $told->cause, $error, 'and what it began with is still there';
    is +EV::Kafka::Error->of_code(3, 'for t:0')->text, 'UNKNOWN_TOPIC_OR_PARTITION (code 3) for t:0', 'about something';
};

subtest 'no answer' => sub {
    my $error = EV::Kafka::Error->without_code('disconnected', 1);
    is_deeply [map { $error->$_ } qw(code name text retriable)], [undef, '', 'disconnected', 1], 'has no code';
    is +EV::Kafka::Error->without_code('x')->retriable, 0, 'is not retriable unless somebody says so';
};

subtest 'what a coordinator has answered' => sub {
    my %is_again = map { $_ => 1 } grep { EV::Kafka::Error::is_retriable_by_coordinator($_) } -1 .. 133, 30_000;
    ok $is_again{$_}, EV::Kafka::_error_name($_) . ' is tried again'
        for 2, 3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 74, 75, 78, 88, 89, 100;
    ok !$is_again{$_}, EV::Kafka::_error_name($_) . ' is final'
        for 0, 12, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 35, 42, 45, 47, 48, 49, 50, 52, 53, 58, 59, 69, 79, 81, 82, 90,
        110, 111, 112, 113, 120, 128;
};

subtest 'an answer that says nothing' => sub {
    for my $code (-1, 134, 30_000) {
        ok EV::Kafka::Error::is_unknown($code), "code $code";
        my @again = grep { EV::Kafka::Error::is_retriable_by_coordinator($code, $_) } 0 .. 100;
        is_deeply \@again, [0 .. EV::Kafka::Error::UNKNOWN_ERROR_TRIES() - 1], 'is tried again a few times';
        ok !EV::Kafka::Error::is_retriable_by_coordinator($code), 'but not by who does not count';
    }
    ok !EV::Kafka::Error::is_unknown($_), "code $_ is known" for 0, 1, 7, 16, 129;
};

subtest 'another broker is the coordinator' => sub {
    is_deeply [grep { EV::Kafka::Error::is_from_other_coordinator($_) } -1 .. 133], [5, 6, 13, 15, 16], 'five codes';
};

done_testing;
