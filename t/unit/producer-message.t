use v5.14;
use warnings;

use EV::Kafka;
use EV::Kafka::Producer::Message;
use EV::Kafka::Strings;
use Test::More;

# What a program gives to produce and produce_many, without a broker.

use constant MESSAGE => 'EV::Kafka::Producer::Message';

sub died { my ($code) = @_; return eval { $code->(); 1 } ? '' : $@ }

subtest 'options and callback, in either order' => sub {
    my $cb      = sub { };
    my $options = { partition => 3, acks => 1 };
    for my $rest ([$options, $cb], [$cb, $options], [undef, $cb], [$cb], [$options], [undef, undef], []) {
        my $message = MESSAGE->of_arguments(undef, 't', 'k', 'v', @$rest);
        is_deeply [@$message{qw(topic key value)}], [qw(t k v)], 'the texts';
        is $message->{cb}, (grep { ref $_ eq 'CODE' } @$rest) ? $cb : undef, 'the callback';
        is $message->{partition}, (grep { ref $_ eq 'HASH' } @$rest) ? 3 : undef, 'an option';
    }
};

subtest 'what the callback is to be called with' => sub {
    my $cb = sub { };
    for my $options (undef, {}, { partition => 3 }) {
        my $with = sub { my (@with) = @_; return MESSAGE->of_arguments(undef, 't', 'k', 'v', $options, $cb, @with)->{cb} };
        is $with->(), $cb, 'nothing';
        is_deeply $with->(1), [$cb, 1], 'one';
        is_deeply $with->(1, undef, [2]), [$cb, 1, undef, [2]], 'several';
        my ($text, @copied) = 'as it was';
        @copied = @{ $with->($text) };
        $text   = 'changed';
        is $copied[1], 'as it was', 'a copy';
    }
    for my $rest ([$cb, undef, 1], [$cb, {}, 1], [undef, undef, 1], [{}, undef, 1], [undef, 'cb', 1]) {
        like died(sub { MESSAGE->of_arguments(undef, 't', 'k', 'v', @$rest) }), qr/\Aproduce: callback must be a code reference/, 'not otherwise';
    }
    like died(sub { MESSAGE->of_arguments(undef, 't', 'k', 'v', 'options', $cb, 1) }), qr/\Aproduce: options must be a hash reference/, 'nor with other options';
};

subtest 'what is wrong' => sub {
    my %wrong = (
        'key and value required'                    => ['t', 'k'],
        'topic required'                            => ['', 'k', 'v'],
        'key must be a string, not a reference'     => ['t', [], 'v'],
        "unknown option 'color'"                    => ['t', 'k', 'v', { color => 1 }],
        "option 'partition' must be a non-negative" => ['t', 'k', 'v', { partition => -1 }],
        "option 'acks' must be -1, 0 or 1"          => ['t', 'k', 'v', { acks => 2 }],
        "option 'headers' must be a hash"           => ['t', 'k', 'v', { headers => 'h' }],
        "header's value must be a string"           => ['t', 'k', 'v', { headers => { h => [] } }],
        'callback must be a code reference'         => ['t', 'k', 'v', 'cb'],
        'options must be a hash reference'          => ['t', 'k', 'v', 'options', sub { }],
    );
    for my $text (sort keys %wrong) {
        my $line = __LINE__ + 1;
        my $died = died(sub { MESSAGE->of_arguments(undef, @{ $wrong{$text} }) });
        like $died, qr/\Aproduce: \Q$text\E.* line $line\.$/, $text;
    }
};

subtest 'elements of a list' => sub {
    is_deeply(MESSAGE->of_element(undef, $_), [qw(t k v)], 'strings alone') for ['t', 'k', 'v'], { topic => 't', key => 'k', value => 'v' };
    is_deeply(MESSAGE->of_element(undef, ['t', undef, undef]), ['t', undef, undef], 'undef among them');
    my %all = (topic => 't', value => 'v', partition => 1);
    is MESSAGE->of_element(undef, \%all)->{partition}, 1, 'an option in a hash';
    is MESSAGE->of_element(undef, ['t', 'k', 'v', { partition => 1 }])->{partition}, 1, 'and in a list';
    like died(sub { MESSAGE->of_element(undef, 'text') }), qr/\Aproduce_many: message must be/, 'neither';
    like died(sub { MESSAGE->of_element(undef, ['t', 'k', 'v', 'text']) }), qr/\Aproduce: options must be/, 'options that are none';
    like died(sub { MESSAGE->of_element(undef, [undef, 'k', 'v']) }), qr/\Aproduce: topic required/, 'no topic';
};

subtest 'strings' => sub {
    my $bytes = EV::Kafka::Strings->new('bytes');
    my $text  = EV::Kafka::Strings->new('utf8');
    like died(sub { MESSAGE->of_arguments($bytes, 't', "\x{263a}", 'v') }), qr/\Aproduce: key has wide characters/, 'bytes';
    like died(sub { MESSAGE->of_element($bytes, ['t', 'k', "\x{263a}"]) }), qr/\Aproduce_many: value has wide characters/,
        'found before anything is produced';
    my $message = MESSAGE->of_arguments($text, 't', "\x{263a}", 'v');
    is $message->{key}, "\xe2\x98\xba", 'text is encoded';
    is $message->given_key, "\x{263a}", 'a partitioner sees it as it was';
    is_deeply(MESSAGE->of_texts(MESSAGE->of_element($text, ['t', "\x{263a}", 'v']))->encoded($text)->{key}, "\xe2\x98\xba", 'later');
};

done_testing;
