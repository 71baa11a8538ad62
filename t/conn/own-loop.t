# Connections on a loop of the program's own that live until global destruction, when the loop may be gone before them.
use strict;
use warnings;
use Test::More;

my %programs = (
    'connecting' => '$c->connect("127.0.0.1", 1, 5)',
    'resolving'  => '$c->connect("name.invalid", 1, 5)',
    'idle'       => '$c->auto_reconnect(1)',
);
for my $what (sort keys %programs) {
    my $program = join ';',
        'use EV', 'use EV::Kafka',
        'our $l = EV::Loop->new', 'our $c = EV::Kafka::Conn::_new("EV::Kafka::Conn", $l)',
        '{ my $x = $c; $c->on_error(sub { $x }) }',
        $programs{$what}, 'print "end\n"';
    my $output = do {
        open my $pipe, '-|', $^X, (map { "-I$_" } @INC), '-e', $program or die "cannot start perl: $!";
        local $/;
        my $text = <$pipe>;
        close $pipe;
        $text;
    };
    is $?, 0, "$what: the process ends well";
    is $output, "end\n", "$what: after its program";
}

done_testing;
