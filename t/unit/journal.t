use v5.14;
use warnings;

use lib 't/lib';
use EV::Kafka;
use EV::Kafka::Journal;
use EV::Kafka::Outbox;
use HandClock;
use TestKafka qw(warnings_of);
use Test::More;

# What EV_KAFKA_DEBUG names is written to STDERR, and what is logged comes to the program's log.

sub written {
    my ($code) = @_;
    my $text = '';
    open my $stderr, '>', \$text or die $!;
    local *STDERR = $stderr;
    $code->();
    return $text;
}

subtest 'what is named' => sub {
    is(EV::Kafka::Journal->new($_, 'c'), undef, 'nothing: ' . ($_ // 'undef')) for undef, '', ' ,';
    my $journal = EV::Kafka::Journal->new('conn, group', 'c');
    is_deeply [map { $journal->has($_) ? 1 : 0 } qw(conn group fetch)], [1, 1, 0], 'some rooms';
    my $all = EV::Kafka::Journal->new('all', 'c');
    is scalar(grep { $all->has($_) } qw(client conn cluster fetch group producer txn)), 7, 'all of them';
    my $some;
    my @warnings = warnings_of { $some = EV::Kafka::Journal->new('con,fetch', 'c') };
    like "@warnings", qr/\AEV::Kafka: EV_KAFKA_DEBUG names con; there are all, client conn .* and txn\n\z/, 'a name that there is not';
    ok $some->has('fetch'), 'the others count';
};

subtest 'a line' => sub {
    my $journal = EV::Kafka::Journal->new('conn', 'my-client');
    local ($\, $,) = ('!', '!');
    like written(sub { $journal->write(conn => info => 'connected') }), qr/\A\d\d:\d\d:\d\d\.\d\d\d my-client conn info: connected\n\z/,
        'time, client, room, level, text';
};

sub outbox {
    my (%options) = @_;
    return EV::Kafka::Outbox->new(HandClock->new, { client_id => 'c', %options }, sub { 0 });
}

subtest 'who looks inside' => sub {
    local $ENV{EV_KAFKA_DEBUG};
    is outbox()->logs('conn'), 0, 'nobody';
    is outbox(log => sub { })->logs('conn'), 1, 'the program';
    local $ENV{EV_KAFKA_DEBUG} = 'conn';
    my $outbox = outbox();
    is_deeply [map { $outbox->logs($_) } qw(conn group)], [1, 0], 'who has set EV_KAFKA_DEBUG, at one room';
    like written(sub { $outbox->log(conn => debug => 'said', broker => 1); $outbox->log(group => debug => 'not said') }), qr/\A\S+ c conn debug: said\n\z/,
        'a line';
};

subtest 'the program' => sub {
    local $ENV{EV_KAFKA_DEBUG};
    my @heard;
    my %options = (log => sub { push @heard, [@_] }, on_error => sub { push @heard, "error $_[0]" }, on_notice => sub { push @heard, "notice $_[0]" });
    my $outbox  = outbox(%options);
    $outbox->log(group => info => 'joining', group_id => 'g');
    is_deeply \@heard, [[info => 'joining', { room => 'group', group_id => 'g' }]], 'level, text, and what it is about';
    @heard = ();
    $outbox->report('lost');
    $outbox->report_in_turn(kind => 'lost again');
    $outbox->notice(topic => 'waits', topic => 't') for 1 .. 2;
    is_deeply \@heard, [
        [error   => 'lost',       { room => 'client', code => undef }], 'error lost',
        [error   => 'lost again', { room => 'client', code => undef }], 'error lost again',
        [warning => 'waits',      { room => 'client', topic => 't' }],  'notice waits',
    ], 'errors and notices, each before the program hears of it, once';
    my @warnings = warnings_of { outbox(log => sub { die "no\n" })->log(conn => info => 'x') };
    is "@warnings", "log error: no\n", 'a die is a warning';
};

done_testing;
