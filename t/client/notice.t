use v5.14;
use warnings;

# What only waits is told by on_notice, once until its reason changes, and never by
# on_error. Timers count from the moment they are started.

use lib 't/lib';

use EV;
use EV::Kafka;
use Test::More;
use Time::HiRes ();

use Inside;

my (@errors, @notices);
my $kafka = EV::Kafka->new(
    on_error  => sub { push @errors, "@_" },
    on_notice => sub { push @notices, [@_] },
);

Inside::notice($kafka, 'topic t', 'topic t is not known', topic => 't');
Inside::notice($kafka, 'topic t', 'topic t is not known', topic => 't');
is_deeply \@notices, [['topic t is not known', { topic => 't' }]], 'a reason is told once, with what it is about';

Inside::notice($kafka, 'topic t', 'topic t has no leader', topic => 't');
Inside::notice($kafka, 'topic u', 'topic u is not known', topic => 'u');
is_deeply [map { $_->[0] } @notices[1 .. $#notices]], ['topic t has no leader', 'topic u is not known'],
    'another reason, and another subject, is told of';

Inside::notice_over($kafka, 'topic t');
Inside::notice($kafka, 'topic t', 'topic t has no leader', topic => 't');
is scalar @notices, 4, 'what was over and comes again is told of again';

{
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, $_[0] };
    $kafka->{cfg}{on_notice} = sub { die "no such luck\n" };
    Inside::notice($kafka, 'topic v', 'topic v is not known');
    is_deeply \@warnings, ["on_notice error: no such luck\n"], 'a die in on_notice is a warning';
    @warnings = ();
    delete $kafka->{cfg}{on_notice};
    Inside::notice($kafka, 'topic w', 'topic w is not known');
    is_deeply \@warnings, ["EV::Kafka: topic w is not known\n"], 'without on_notice it is a warning itself';
    local $SIG{__WARN__} = sub { die $_[0] };
    ok eval { Inside::notice($kafka, 'topic x', 'topic x is not known'); 1 }, 'and a warning that dies stops nothing';
}
is_deeply \@errors, [], 'on_error has heard nothing of all that';

ok !eval { EV::Kafka->new(on_notice => 1); 1 }, 'what is no callback croaks';
like $@, qr/^EV::Kafka: option 'on_notice' must be a code reference/, 'and is named';

{
    # The loop's own time is that of the beginning of this turn.
    my ($fired, $long);
    my $timer;
    my $turn = EV::timer 0, 0, sub {
        select undef, undef, undef, 0.3;
        $timer = Inside::timer($kafka, 0.2, sub { $fired = 1; EV::break });
        my $began = Time::HiRes::time();
        EV::once undef, 0, 0, sub { $long = 1 unless $fired };
    };
    EV::run;
    ok $fired && $long, 'a timer started in a long callback counts from there';
}

{
    # In one turn of the loop a socket that can be read comes before a timer that is due.
    pipe my $in, my $out or die "pipe: $!";
    my @order;
    my $timer = Inside::timer($kafka, 0.01, sub { push @order, 'late'; EV::break });
    my $io    = EV::io $in, EV::READ, sub { sysread $in, my $byte, 1; push @order, 'read' };
    my $turn  = EV::timer 0, 0, sub { syswrite $out, 'x'; select undef, undef, undef, 0.05 };
    EV::run;
    is_deeply \@order, ['read', 'late'], 'what lies unread is read before anything is called late';
}

$kafka->close;
done_testing;
