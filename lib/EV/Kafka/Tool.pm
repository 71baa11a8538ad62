package EV::Kafka::Tool;
use strict;
use warnings;

use Getopt::Long ();

use EV::Kafka;
use EV::Kafka::Options::Hint;
use EV::Kafka::Tool::Config;
use EV::Kafka::Tool::Session;

# The command ev-kafka: reads the command line and lets a class of its own do each command. Such a class has
#   summary             a line for the help
#   usage               what follows its name there
#   options             Getopt::Long's, each with what it is for
#   run($job)           does it, and returns the exit status
# and dies with a text that ends in a newline when it cannot. A job has session, option (by name) and arguments.

use constant {
    DONE     => 0,
    FAILED   => 1,
    MISTAKEN => 2,
};

my @COMMANDS = qw(list describe create delete produce consume tail grep lag watch copy bench mock completion);

my @GLOBAL = (
    'brokers|b=s'     => 'HOST:PORT,... to begin with',
    'property|X=s@'   => "NAME=VALUE, by librdkafka's name",
    'config-file|F=s' => 'a FILE of such lines',
    'timeout|t=f'     => 'SECONDS to wait for an answer',
    'quiet|q'         => 'no progress',
    'progress'        => 'progress, terminal or not',
    'help|h|?'        => 'this',
);

# Of each request about the cluster, and of the first answer.
use constant PATIENCE => 30;

sub run {
    my ($class, @argv) = @_;
    local $SIG{PIPE} = 'DEFAULT';    # whoever reads has enough
    my $status = eval { $class->_run(@argv) };
    return $status if defined $status;
    my $died = $@;
    print {*STDERR} 'ev-kafka: ', ref $died ? @$died : $died;
    return ref $died ? MISTAKEN : FAILED;
}

# Dies with what is wrong with the command line.
sub mistake { my ($class, $text) = @_; die [$text, "\n"] }

sub commands { return @COMMANDS }

sub class_of {
    my ($class, $name) = @_;
    my $command = 'EV::Kafka::Tool::Command::' . ucfirst $name;
    require "$command.pm" =~ s{::}{/}gr;
    return $command;
}

# Getopt::Long's specifications, global ones first.
sub options_of {
    my ($class, $command) = @_;
    my @all = (@GLOBAL, $command ? $command->options : ());
    return map { $all[$_] } grep { $_ % 2 == 0 } 0 .. $#all;
}

sub _run {
    my ($class, @argv) = @_;
    my %global = $class->parse(['require_order'], \@argv, 'version', $class->options_of);
    return _print('ev-kafka ', EV::Kafka->VERSION, "\n") if $global{version};
    my $name = shift @argv;
    return _print($class->_screen) if $global{help} && !defined $name || defined $name && $name eq 'help';
    $class->mistake("which command? ev-kafka --help lists them") unless defined $name;
    my $command = $class->command($name);
    my %option  = (%global, $class->parse(['permute'], \@argv, $class->options_of($command)));
    $option{property} = [map { @{ $_ || [] } } $global{property}, $option{property}] if $global{property} && $option{property} != $global{property};
    return _print($class->_help($name, $command)) if $option{help};
    my $job = { option => \%option, arguments => \@argv, session => $class->session(\%option) };
    return $command->run($job);
}

sub _print { print @_; return DONE }

# The class of a command, or what was meant by its name.
sub command {
    my ($class, $name) = @_;
    $class->mistake("there is no command '$name'" . EV::Kafka::Options::Hint::did_you_mean($name, @COMMANDS) . '; ev-kafka --help lists them')
        unless grep { $_ eq $name } @COMMANDS;
    return $class->class_of($name);
}

# The options that are there; what is left of the arguments stays in them.
sub parse {
    my ($class, $how, $arguments, @specifications) = @_;
    my ($parser, %option, @wrong) = (Getopt::Long::Parser->new(config => [qw(bundling no_ignore_case no_auto_abbrev), @$how]));
    {
        local $SIG{__WARN__} = sub { push @wrong, @_ };
        local @ARGV = @$arguments;
        $parser->getoptions(\%option, @specifications);
        @$arguments = @ARGV;
    }
    $class->mistake(join('; ', map { lcfirst s/\n//r } @wrong) . '; --help says what there is') if @wrong;
    return %option;
}

sub session {
    my ($class, $option) = @_;
    return EV::Kafka::Tool::Session->new(
        properties => EV::Kafka::Tool::Config->properties($option),
        timeout    => $option->{timeout} // PATIENCE,
        quiet      => $option->{quiet},
        progress   => $option->{quiet} ? 0 : $option->{progress} || -t *STDERR,
    );
}

# --- help -------------------------------------------------------------------------------

sub _screen {
    my ($class) = @_;
    my @lines = map { my $command = $class->class_of($_); sprintf "    %-11s %s\n", $_, $command->summary } @COMMANDS;
    return ("ev-kafka [OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]\n\n", @lines,
        "\nOptions of all commands:\n\n", _lines(@GLOBAL),
        "\nev-kafka COMMAND --help has more of one, perldoc ev-kafka of all.\n");
}

sub _help {
    my ($class, $name, $command) = @_;
    my @own = $command->options;
    return ("ev-kafka $name ", $command->usage, "\n\n", ucfirst $command->summary, ".\n",
        @own ? ("\n", _lines(@own)) : (), "\nOptions of all commands:\n\n", _lines(@GLOBAL));
}

# An option a line: -p, --partitions ... what for.
sub _lines {
    my (@options) = @_;
    my @lines;
    while (my ($specification, $what) = splice @options, 0, 2) {
        my ($names) = split /[=!:+]/, $specification;
        my @names = sort { length $a <=> length $b } split /\|/, $names;
        push @lines, sprintf "    %-22s %s\n", join(', ', map { length > 1 ? "--$_" : "-$_" } @names), $what;
    }
    return @lines;
}

1;

__END__

=head1 NAME

EV::Kafka::Tool - the command ev-kafka

=head1 DESCRIPTION

For F<bin/ev-kafka>, which describes the commands; not for use by itself. It reads the command line and lets the class
C<EV::Kafka::Tool::Command::>I<Name> do what was asked for.

=head1 METHODS

=head2 run(@arguments)

Does it, and returns the exit status.

=head2 mistake($text)

Dies of a mistake in the command line.

=head2 commands, command($name), class_of($name), options_of([$class])

The names of the commands; the class of one of them, with a hint if there is none of that name, or without; and its
options as L<Getopt::Long> specifies them.

=head2 parse(\@how, \@arguments, @specifications)

A hash of the options, which are taken out of the arguments.

=head2 session(\%option)

An L<EV::Kafka::Tool::Session> for these.

=head1 SEE ALSO

L<ev-kafka>

=cut
