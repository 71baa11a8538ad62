use v5.14;
use warnings;

# lib/EV/Kafka/Errors.pod explains every text that a program is handed, and no other.

use lib 'xt/lib';

use ErrorTexts;
use Test::More;

my $PAGE = 'lib/EV/Kafka/Errors.pod';

# Literals that stand where texts stand, and reach nobody as an error or notice: news between
# modules, subjects of notices, labels of warnings, names of arguments, what methods croak with.
my @NO_ERROR = (
    qr/\A(?:closing|cluster|consumer|group|producer) [a-z_]+\z/,
    qr/\A(?:new epoch|the rest|option acks|option compression_level|transactional id|PEM text|Client Key|Server Key)\z/,
    qr/\A(?:port of|on_revoke_async of|heartbeats of|membership of|reset of|locks of|share session|settled) \$/,
    qr/\A(?:EV::Kafka(?:::Conn)?: )?(?:\w+ )?callback(?: error)?\z/,
    qr/\Aon_\w+ error\z/,
    qr/\AEV::Kafka::Promises loop\z/,
    qr/\A(?:position: partition|seek: partition|assign: offset|commit: leader_epoch|header's name|header's value)\z/,
    qr/\A(?:CA file|certificate file|key file|the value of an extension| \(os error )\z/,
    qr/-----/,
    qr/ (?:is|are)\z/,
    qr/\A(?:[\w:>-]+: )?(?:expected (?:a|an|what|hashref|arrayref)\b|_new needs|bad strings|class required|topics: expected)/,
    qr/\A(?:[\w{}]+: )?(?:(?:topic|connection|partition) required|no such partition|missing topic|bad element)\z/,
    qr/\b(?:must be a hashref|must be an arrayref|hashref or an arrayref)\b|was taken for a topic|\A; (?:topics (?:are|come)|a pattern is given as)/,
    qr/\A\{\} (?:must be|has no '\{given\}')|\Ano SCRAM mechanism|\Aiterations must be/,
    qr/\A(?:unsupported compression|unknown option '|extension '|unknown API key|\{method\}: no such)/,
    qr/\AEV::Kafka(?:::Conn)?: (?:tls|sasl|the client belongs|the connection belongs|connection belongs|method called on|not a c)/,
    # After the name of an option that is explained there, a croak, or a part of another text.
    qr/\A(?:must be 'earliest' or 'latest', or|has no duration as ISO 8601|first record of the last|, or -1 for the default,|cannot be \{\}: \{\} has no levels|must be from \{from\} to \{to\})/,
);

# What cannot be decoded is told as a broker's code or as an answer that broke off.
my $UNREAD = qr{\Arust/kafka-wire/src/(?:codec|records)/};
my @UNREAD = (qr/\A(?:unexpected end of data|invalid length|varint too long|null where this version)/);

my @code = grep { my $text = $_->{text}; $_->{file} !~ $UNREAD && !grep { $text =~ $_ } @NO_ERROR, @UNREAD } ErrorTexts::in_code(ErrorTexts::files());
my @page = ErrorTexts::in_page($PAGE);

cmp_ok scalar @code, '>', 200, 'texts in the code';
cmp_ok scalar @page, '>', 150, 'and on the page';

my %told;
for my $literal (@code) {
    next if $told{"$literal->{file}:$literal->{text}"}++;
    next if grep { ErrorTexts::has($_->{text}, @{ $literal->{fixed} }) } @page;
    fail "$literal->{file}: '$literal->{text}' is on the page";
    diag "A program is handed this text, and $PAGE does not explain it. Add there, where it belongs by its subject:\n\n"
        . "    =item " . join(' I<...> ', @{ $literal->{fixed} }) . "\n\n    What it means, and what to do.\n\n"
        . "with I<name> for what differs from case to case. If no program is handed it, add it to \@NO_ERROR of xt/errors.t.";
}

# The longest first; single words only where a text is one, or begins with it.
my $WORD  = qr/\A(?:connect|resolve|read|write|disconnected|destroyed|name|code|retries|tries|requests|given up|TLS|SASL)\z/;
my %parts = map { $_ => 1 } grep { /\w\W+\w/ || $_ =~ $WORD } map { @{ $_->{fixed} } } ErrorTexts::all_in_code(ErrorTexts::all_files());
my @parts = sort { length $b <=> length $a || $a cmp $b } keys %parts;
# Of the request, partition or option that an item gives as an example.
my $EXAMPLE = qr/\A(?:JoinGroup|SyncGroup|ConsumerGroupHeartbeat|OFFSET_OUT_OF_RANGE|and|versions|from|more|for|after|code|retries|v|I|s|0 to|option|group|topic|at offset|request|requests|epoch|of)\z/;
for my $item (@page) {
    # A word by itself stands in some literal too short to be looked at.
    my @left = grep { $_ !~ $EXAMPLE && /\w\W+\w/ } ErrorTexts::left_of($item, @parts) or next;
    fail "'$item->{text}' is in the code";
    diag "$PAGE explains a text that is not in the code: nothing there has '$_'. Remove the item, or write it as the code does." for @left;
}

pass 'compared';
done_testing;
