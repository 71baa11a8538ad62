package EV::Kafka::Tool::Command::Completion;
use strict;
use warnings;

use EV::Kafka::Tool;

sub summary { return 'what bash needs to complete this command' }

sub usage { return '' }

sub options { return () }

sub run {
    my ($class, $job) = @_;
    my %options = map { $_ => join ' ', _names(EV::Kafka::Tool->options_of(EV::Kafka::Tool->command($_))) } EV::Kafka::Tool->commands;
    my $cases = join '', map { "        $_) words=\"$options{$_}\" ;;\n" } sort keys %options;
    my $commands = join ' ', EV::Kafka::Tool->commands;
    print <<"END";
# ev-kafka, for bash: source <(ev-kafka completion)
_ev_kafka() {
    local current=\${COMP_WORDS[COMP_CWORD]} command= words= word
    for word in "\${COMP_WORDS[\@]:1:COMP_CWORD-1}"; do
        case " $commands " in *" \$word "*) command=\$word; break ;; esac
    done
    if [[ -z \$command ]]; then
        words="$commands --help --version"
    elif [[ \$current == -* ]]; then
        case \$command in
$cases        esac
    else
        case \$command in
            lag) words=\$(ev-kafka -q -t 2 list groups 2>/dev/null) ;;
            list) words="topics brokers groups transactions" ;;
            watch) words="list describe lag" ;;
            bench) words="produce consume" ;;
            create|mock|completion) ;;
            *) words=\$(ev-kafka -q -t 2 list topics 2>/dev/null) ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "\$words" -- "\$current")
}
complete -o default -F _ev_kafka ev-kafka
END
    return EV::Kafka::Tool::DONE;
}

# --long and -s, as they are typed.
sub _names {
    my (@specifications) = @_;
    return map { my ($names) = split /[=!:+]/; map { length > 1 ? "--$_" : "-$_" } grep { /\A[\w-]+\z/ } split /\|/, $names } @specifications;
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::Completion - ev-kafka completion

=head1 DESCRIPTION

A command of L<EV::Kafka::Tool>, not for use by itself; L<ev-kafka> describes it.

=head1 METHODS

=head2 summary, usage, options, run($job)

As that class wants them.

=head1 SEE ALSO

L<ev-kafka>

=cut
