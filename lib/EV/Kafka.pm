package EV::Kafka;
use strict;
use warnings;

our $VERSION  = '1.00';
our @CARP_NOT = ('EV::Kafka::Client');

use EV ();
use XSLoader ();

use EV::Kafka::Client;
use EV::Kafka::Conn;

XSLoader::load('EV::Kafka', $VERSION);

# EV knows nothing of threads: a new thread's copies of watchers and loops would, when the
# thread ends, be taken off the loops of the thread that has them.
for my $class (qw(EV::Watcher EV::Loop)) {
    no strict 'refs';
    *{"${class}::CLONE_SKIP"} = sub { 1 } unless $class->can('CLONE_SKIP');
}

sub new {
    my ($class, @options) = @_;
    return EV::Kafka::Client->new(@options);
}

1;

__END__

=encoding utf8

=head1 NAME

EV::Kafka - asynchronous Kafka client on the EV event loop

=head1 SYNOPSIS

    use EV;
    use EV::Kafka;

    my $kafka = EV::Kafka->new(
        brokers    => '127.0.0.1:9092',
        acks       => -1,
        errors     => 'object',
        on_error   => sub { warn "kafka: $_[0]\n" },
        on_message => sub {
            my ($topic, $partition, $offset, $key, $value, $headers, $timestamp) = @_;
            print "$topic:$partition \@ $offset  $key = $value\n";
        },
    );

    # produce
    $kafka->connect(sub {
        $kafka->produce('my-topic', 'key', 'value', sub {
            my ($result, $err) = @_;
            return warn "not delivered: $err\n" if $err;
            print "at offset $result->{topics}[0]{partitions}[0]{base_offset}\n";
        });
    });

    # consume
    $kafka->assign([{ topic => 'my-topic', partition => 0, offset => 0 }]);
    $kafka->consume;

    EV::run;

=head1 DESCRIPTION

EV::Kafka produces to and consumes from Apache Kafka, Redpanda and other brokers
that speak Kafka's protocol, from Perl programs that run on L<EV>. Nothing in it
waits: every operation takes a callback, and thousands of them may be under way
at once.

It has two layers.

=over 4

=item C<EV::Kafka::Client>

is what C<< EV::Kafka->new >> returns: a client of a whole cluster. It finds the
brokers and the leaders of partitions, keeps connections to them, gathers messages
into batches, tries again what can be tried again, and keeps the positions of what
it consumes. Its logic is Perl; what happens once a message is native code.

=item C<EV::Kafka::Conn>

is one connection to one broker, for programs that want to send single requests
themselves: debugging, protocols of their own. It is native.

=back

The native code is a core written in Rust that is built with the module. It
implements the protocol itself; there is no librdkafka below it, and no library
of the system is needed for compression.

=head2 What it does

=over 4

=item *

Finds the leaders of partitions by metadata, follows them when they change, and
takes another bootstrap broker when one is dead.

=item *

Pipelines requests on every connection.

=item *

Produces with C<acks> -1, 0 or 1, keys that land on the same partitions as with
Java's client (murmur2), headers, batches that fill up or fall due, and lz4, gzip,
zstd or snappy compression. Idempotent, if wanted: what was acknowledged is in the log
once and in order, whatever happens to brokers and connections.

=item *

Consumes partitions that are assigned by hand, from any offset, with C<seek>, C<pause>,
C<lag>, C<offsets_for> and C<offsets_for_times>; message by message or batch by batch, under
C<read_committed> too. The next fetch is on its way while the last one is delivered. Logs that were
truncated by an unclean election, and topics that were created anew, are noticed.

=item *

Shares records one by one with other members (L</"subscribe_share(@topics, %opts)">, KIP-932): queues, in Kafka 4.2.

=item *

Encrypts by TLS, with client certificates where brokers want them, and authenticates by
SASL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER.

=item *

Administers: topics, settings, groups, records, rules, users, quotas, replicas and transactions
(L</ADMIN METHODS>).

=item *

Reconnects by itself, and says once that a broker is lost.

=back

=head1 ANYEVENT

EV is one of AnyEvent's backends. A program that uses L<AnyEvent> can use
EV::Kafka as it is, as long as EV is the backend that AnyEvent chose: C<use EV>
before the first watcher makes sure of it.

    use EV;
    use AnyEvent;
    use EV::Kafka;

    my $kafka = EV::Kafka->new(brokers => '127.0.0.1:9092', on_error => sub { warn "kafka: $_[0]\n" });
    my $done  = AnyEvent->condvar;
    $kafka->connect(sub { $done->send });
    $done->recv;

=head1 BYTES, NOT CHARACTERS

Kafka knows bytes only. Topics, keys, values and headers are strings of bytes, and unless
told otherwise they are taken as Perl stores them and never recoded. Text must be encoded
before it is handed over and decoded after it is received:

    use Encode qw(encode_utf8 decode_utf8);

    $kafka->produce($topic, $key, encode_utf8($text), sub { ... });

B<Beware>: Perl stores one and the same string in either of two ways, and C<eq> does not see
which. C<"M\xfcller"> from a database may be six bytes, from a JSON decoder seven, and bytes
that were appended to decoded text are stored as if they were text. Without the option
C<strings> what arrives, and which partition a key goes to, depends on that. So say what the
strings are:

    my $kafka = EV::Kafka->new(strings => 'bytes', ...);    # the program encodes and decodes
    my $kafka = EV::Kafka->new(strings => 'utf8', ...);     # the client does, as UTF-8

=over 4

=item bytes

Each character of a key, value, or header's name or value is one byte, however it is stored. A
character above 255 is none:
C<< produce: value has wide characters: encode it first, or strings => 'utf8' >>, a croak, and
nothing is sent. What is received is bytes. For programs that encode by themselves, and for
binary data.

=item utf8

They are text. It is sent as UTF-8, and what is received is decoded; what is no valid UTF-8 is
delivered as the bytes that it is. Binary data that was not written this way is not to be read
this way: some of it happens to be UTF-8.

=back

The bytes that are sent decide about the partition of a key, so that equal keys go to the same
one. A C<partitioner> of the program's gets the key as it was given. Names of topics,
groups and the like are not touched by the option.

=head1 CLUSTER CLIENT METHODS

Wherever a method takes a callback, the callback may do anything: call other
methods, close the client, drop the last reference to it. A die in a callback is
turned into a warning and stops nothing else.

After L</close([flush =E<gt> $seconds], [$cb])> every method except C<close> and C<error_name> croaks
C<EV::Kafka: client is closed>.

=head2 new(%options)

    my $kafka = EV::Kafka->new(
        brokers  => '10.0.0.1:9092,10.0.0.2:9092',
        acks     => -1,
        on_error => sub { warn @_ },
    );

Creates a client and returns it, an C<EV::Kafka::Client>. Nothing is sent before
L</connect([$cb])>. Croaks C<unknown option(s): NAME, ...> on names that are not in
this list, and names the option when a value makes no sense.

A client lives as long as its owner keeps it. One that goes out of scope is torn
down: whatever is still waiting is called back once, with the error
C<client closed> if it was never sent.

=over 4

=item brokers => 'HOST:PORT,...' | [...] (default C<127.0.0.1:9092>)

The addresses to start from, separated by commas, or a list of them. White space around them is
ignored, the port is 9092 when left out, and IPv6 addresses stand in brackets:
C<[::1]:9092>. They are tried in this order. The other brokers of the cluster are
found through the first one that answers.

=item client_id => 'Str' (default C<ev-kafka>)

The name by which brokers know this client, in their logs and quotas.

=item tls => Bool

Encrypt connections, by TLS 1.2 or 1.3. The broker's certificate must be valid, be
issued by an authority of the system or of C<tls_ca_file>, and name the host or the IP
address that is connected to.

It should do so by a subjectAltName. One that has none, certificates of X.509 version 1
among them, is accepted when its common name is the host's, and C<on_notice> hears of that
once: other clients refuse it.

=item tls_ca_file => 'Str'

Certificates to trust, beside the system's: those of authorities, and those of brokers
that have signed their own. Those among them that cannot be used are left out, as long as
there is one that can.

=item tls_server_name => 'Str'

The name, or the address, that every broker's certificate has to have in place of the host
that is connected to, and that brokers are told (SNI): for those that are reached by
another name than theirs, through a tunnel or a proxy.

=item tls_skip_verify => Bool

Accept any certificate. The connection is then encrypted, but may be with anybody.

=item tls_cert_file => 'Str', tls_key_file => 'Str', tls_key_password => 'Str'

The client's certificate, for brokers that demand one (mutual TLS), and its private
key. The certificate may be followed by those that lead to its authority. The key may be
in PKCS#1, PKCS#8 or SEC1 form, and in the same file as the certificate when
C<tls_key_file> is left out. Behind a password it may be in encrypted PKCS#8 form (PBES2),
which begins with C<BEGIN ENCRYPTED PRIVATE KEY>, or in the form whose second line is
C<Proc-Type: 4,ENCRYPTED>, with AES or triple DES. C<openssl pkcs8 -topk8 -v2 aes256>
brings any other into the first of these.

The three options that end in C<_file> take the name of a PEM file or the PEM text itself.
Files are read by C<new>, which croaks C<EV::Kafka: TLS: REASON> when one of them cannot be
read or used, and once more for a new connection when they have changed on disk:
certificates may be renewed while the program runs. Connections that exist stay as they
are. When the new files cannot be used, for example because the key has not been
written yet, C<on_notice> hears why, and what was read before stays in use. What is no
regular file, a pipe for example, is read only once.

Without C<tls> all of these options have no effect. That is a warning, unless C<< tls => 0 >>
says that it is meant.

=item sasl => \%opts

    sasl => { mechanism => 'SCRAM-SHA-256', username => 'user', password => 'secret' },
    sasl => { mechanism => 'OAUTHBEARER', token => $token },
    sasl => { mechanism => 'OAUTHBEARER', token => sub { my ($done) = @_; ... } },
    sasl => { mechanism => 'OAUTHBEARER', token => $token, extensions => { logicalCluster => 'lkc-1' } },

Authenticate on every connection. Mechanisms: C<PLAIN>, C<SCRAM-SHA-256> and
C<SCRAM-SHA-512>, with a user name and a password, and C<OAUTHBEARER>, with a token or a
callback that has tokens, see L</Tokens>. Keys that a mechanism does not take croak.

C<extensions> is a hash of what is said beside the token (KIP-342), each time: keys are
ASCII letters, and not C<auth>; values are printable ASCII, and not empty.

C<PLAIN> sends the password as it is, and C<OAUTHBEARER> the token: without C<tls> that is a
warning, which contains C<SASL PLAIN configured without TLS>, or C<SASL OAUTHBEARER> so.

With SCRAM the broker says how often the password is to be hashed: 4,096 times at the least
(RFC 7677) and 1,048,576 times at the most, or C<SCRAM: malformed server-first-message> ends
the connection. A thread of its own does it, so that the event loop does not wait.

Before the time that a broker allows a session runs out the connection authenticates
again (KIP-368); requests wait meanwhile.

A broker that refuses is reported to C<on_error> with its reason, once, and tried again
with growing delays of up to a second, as one that cannot be reached. Passwords and
tokens appear in no text of this module; the client keeps them where
C<< $kafka->{cfg} >> does not show them.

=item acks => -1 | 0 | 1 | 'all' (default -1, which is C<all>)

When a message counts as delivered: C<-1> when all in-sync replicas have it, C<1>
when the leader has it, C<0> as soon as it is written to the connection. With 0 the
broker never answers: callbacks tell nothing about the broker, and messages may be
lost without notice.

=item linger_ms => Num (default 5)

How many milliseconds a batch that is not large enough waits for more messages. More of
it makes larger batches and a higher rate, less of it a lower latency.

=item batch_size => Int (default 16384)

The size in bytes at which a batch is sent without waiting any longer. While nothing can
be sent, because the broker has not answered earlier requests yet or is not there, a
batch takes more messages: up to C<batch_size> where it is given, otherwise up to 1,000,000
bytes, which is what brokers take by default, or less where a broker has found a batch
of the topic too large. So batches grow with the time that answers take, and what waits
leaves in few requests. A message larger than a batch travels in one of its own.

=item max_request_size => Int (default 103809024)

The most bytes that a message may have, with its key, its headers and some bytes around
them, before compression. One that has more fails at once, with C<message too large: ...>;
others are not affected. The default is what a broker reads at all (its
C<socket.request.max.bytes> of 100 MiB) less 1 MiB, since a larger request would cost the
connection. A broker takes 1 MiB or so of a batch unless its C<message.max.bytes> or its
topic's C<max.message.bytes> says otherwise, and refuses what is larger by itself. Batches
end at this size, too.

=item compression => 'Str'

C<lz4>, C<gzip>, C<zstd>, C<snappy>, or undef, C<''>, 0 or C<none> for no compression of
batches. All are always available. Brokers older than Kafka 2.1 do not understand
zstd. C<lz4> and C<snappy> cost the least, C<zstd> and C<gzip> take twice the time and leave two thirds of what those do.

=item compression_level => Int

How much effort the codec makes, on its own scale; its default unless given.

    gzip     1 to 9, or -1 for the default, which is 1
    lz4      1 to 17
    zstd     -131072 to 22; the default, also to be had as 0, is 3
    snappy   none: any level croaks

Higher levels take more time and leave less; consumers hardly notice. gzip's are those of libdeflate,
whose 5 leaves what zlib's 6 (the default of Java and librdkafka) leaves, within some per cent, and takes twice the time of
its 1, which leaves a tenth more. LZ4 without a level
is the fast LZ4; with one it is LZ4's other compressor, HC, several times as slow from 3 on, whose highest level is
12: higher ones, which Kafka knows, are taken for that. (Java's default, 9, means the fast one there.) zstd below 0
is faster than 1 and leaves more.

=item idempotent => Bool (default 0)

Let brokers recognise a batch that arrives twice, and keep batches in order: see
L</Idempotence>. C<connect> asks for a producer id, and no message leaves before there is
one. C<acks> is -1 whatever it was given, with a warning.

=item transactional_id => 'Str'

Produce in transactions, see L</begin_transaction>. Implies C<idempotent>, and so
C<acks> -1: other values of either are warned about and not obeyed. Of all
producers with the same id only the one that connected last can go on: it fences the
others, and what they left open is aborted. The empty string means no transactions, as
undef does.

Where the brokers have agreed on version 2 of transactions (feature C<transaction.version>, KIP-890), the
next transaction is of it: two requests fewer, and an epoch of its own, which keeps out what is late. A change of
the feature is heard of with the next connection, and counts from the next transaction on.

=item transaction_timeout => Milliseconds (default 60000)

A transaction that takes longer is aborted by its coordinator, and its producer is
fenced. Brokers allow 15 minutes unless their C<transaction.max.timeout.ms> says
otherwise.

=item partitioner => 'sticky' | 'uniform-sticky' | $cb->($topic, $key, $num_partitions)

C<sticky>: messages whose key is undef stay on a partition until its batch is full or
due, and then go on to another one that has a leader (KIP-480). Batches are
fuller and fewer so. Keys choose as they do by default.

C<uniform-sticky>: they stay for C<batch_size> bytes, in however many batches these leave, and then go on to a partition
that is chosen by chance: the more waits there, to be sent or to be answered, the less likely it is chosen (KIP-794, Java's
default). A broker that is slow gets less than the others, while with C<sticky> each of its batches grows. Partitions
without a leader get nothing.

A code reference chooses the partition of every message that does not name one. It must return a
number from 0 to C<$num_partitions - 1>. Without it a key chooses its partition by
its murmur2 hash, as Java's client does, and messages whose key is undef go to the
partitions in turn.

=item on_error => $cb->($error)

Called with whatever goes wrong outside of an operation that has a callback of its
own: a lost broker, an operation without callback that failed, a partition that
cannot be fetched. The default dies, with C<EV::Kafka: > before the text; from
within the event loop that die ends up with C<$EV::DIED>, which warns unless the
program has set it.

=item errors => 'object'

C<on_error>, and callbacks that are told of an error, get an L<EV::Kafka::Error>: it knows code, name, broker,
topic, partition and request, and whether another try may help. Where a string is needed it is its
text. The default, C<text>, is the plain string.

=item on_notice => $cb->($text, \%about)

Called for what only waits, or was survived, and may still succeed: C<on_error> hears what
has ended something, and by default dies of it. Each cause is told of once, and again when
its text has changed. C<%about> names what it is about as far as that is known: C<topic>,
C<partition>, C<broker> (its node id), C<group>. Without an C<on_notice> each of these texts
becomes a warning.

=item log => $cb->($level, $text, \%fields)

Called for what the client does, as L</LOGS> describes it.

=item on_stats => $cb->($stats)

Called every C<stats_interval> seconds from C<connect> on with what L</stats> gives; counting begins with the client.

=item stats_interval => Num (default 30)

Seconds between calls of C<on_stats>; 0 for none.

=item on_throttle => $cb->($throttle_time_ms, \%about)

Called for every answer by which a broker says that the client is over a quota: for how long it is to send nothing, which it
does not, or has been made to wait (KIP-219). C<%about> has C<api>, such as C<Produce>, and C<broker>, its node id, but not
for the connection that asks for metadata.

=item on_eof => $cb->($topic, $partition, $offset)

Called when the end of an assigned partition is reached: when all records before its high watermark have been handed over,
with C<read_committed> all before the last stable offset, of which C<$offset> is the one. It comes after the last
record, once each time: again after further records, or a seek, have led to the end again. It also comes for a partition
of which there is nothing to read.

=item on_connect => $cb->()

Called once, after the first metadata has arrived.

=item on_message => $cb->($topic, $partition, $offset, $key, $value, $headers, $timestamp)

Called for every message consumed. C<$key> and C<$value> are undef where the
message has none. C<$headers> is a hash reference, or undef if there are no
headers; of headers with the same name the last one counts, unless C<headers> says otherwise. C<$timestamp> is in
milliseconds since the epoch. While something is assigned and there is neither C<on_message>
nor C<on_batch>, C<on_notice> says so; what was fetched waits, and the position does not move.
A callback that dies is a warning, and the next message comes; see C<on_message_die>.

=item on_batch => $cb->($topic, $partition, \@records)

In place of C<on_message>: called once for each batch of records, as its producer put them
together, and for every thousand records of a larger one. Each of them is an array
C<[$offset, $key, $value, $headers, $timestamp]>, the values being those that C<on_message>
gets. It is the faster way to read much. The arrays belong to the callback: it may keep or
change them. What it did not keep is filled again for its next call.

=item on_message_die => 'Str' (default C<warn>)

What comes after C<on_message> or C<on_batch> has died. With C<warn>: the next message; what
it died of is a warning. With C<hold> the message is not passed over: its partition stops
there, which C<on_notice> hears of each time, with C<topic>, C<partition>, C<offset> and
C<error>. The position stays at that message, or at the first one of that call of
C<on_batch>, and so does what C<commit> commits. Other partitions go on.
L</resume(\@partitions)> brings the message again, and so does a
L</seek($topic, $partition, $offset, [$cb])> to it; a seek behind it passes over it. A callback
that moves the position by C<seek> before it dies has decided by itself: nothing is held.

=item strings => 'Str' (default: as Perl stores them)

What keys, values and headers are: C<bytes> or C<utf8>, see L</BYTES, NOT CHARACTERS>. New
programs had better say one of them.

=item headers => 'Str' (default C<hash>)

What the headers of a message that is read are. With C<hash> they are a hash reference, and of several with one name
the last counts. With C<pairs> they are a reference to a list of C<[$name, $value]>, all of them in the order
in which they were written, as C<produce> takes them:

    on_message => sub {
        my ($topic, $partition, $offset, $key, $value, $headers) = @_;
        my @traces = map { $_->[1] } grep { $_->[0] eq 'trace' } @{ $headers || [] };
        $kafka->produce('copy', $key, $value, { headers => $headers });
    },

=item auto_offset_reset => 'Str' (default C<earliest>)

Where consuming goes on when the log does not have the position, or not any more, and where members of groups begin for which
no offset is committed, unless C<subscribe> says otherwise: C<earliest>; C<latest>; C<by_duration:> and a duration as
ISO 8601 has it (KIP-1106; C<by_duration:PT1H>, C<by_duration:P7DT12H>), at the first record that is not older, or at
the end when there is none; or C<none>: the position stays, C<on_error> hears of it, and nothing is fetched of
that partition until C<seek> or C<assign> says where to go on.

=item isolation_level => 'Str' (default C<read_uncommitted>)

With C<read_committed>, messages of transactions that were aborted are not delivered, and
those of open ones not before they are committed: fetching stops at the first offset of a
transaction that is still open, which is also what counts as the latest offset for
L</seek($topic, $partition, $offset, [$cb])>, L</offsets_for($topic, $cb)> and
L</lag($cb)>. With C<read_uncommitted> everything is delivered as it was written. The marks
that end transactions have offsets, too, and are delivered in neither.

=item client_rack => 'Str'

Where this client is, in the terms of the brokers' C<broker.rack>. Groups count it when they share out partitions: with C<range>,
C<sticky> and C<cooperative-sticky>, as with Java's clients (KIP-881), a member is given what has a replica in its rack where
that leaves the shares as even as they would be; by the C<consumer> protocol the coordinator is told.

=item fetch_max_wait_ms => Int (default 500)

How many milliseconds a broker may hold a fetch back until C<fetch_min_bytes> are
there.

=item fetch_max_bytes => Int (default 1048576)

The size that an answer to a fetch, and each partition's share of it, should not
exceed. A single batch that is larger is fetched nevertheless.

=item fetch_min_bytes => Int (default 1)

What a broker should gather before it answers a fetch.

=item metadata_refresh => Num (default 300)

Every so many seconds the metadata of the cluster is fetched anew, so that new
brokers and leaders are known before a request fails. 0 turns that off; fetching
metadata when a request fails stays.

=item allow_auto_create_topics => Bool

Whether asking for a topic that does not exist may create it, where brokers do that
(C<auto.create.topics.enable>). Not given, producing may and nothing else does: C<assign>,
C<subscribe>, C<poll> and C<offsets_for> create no topics (KIP-361). With 0 nothing creates any, with 1 everything
does. A topic that is subscribed to or assigned and does not exist is looked for every few
seconds, so that it is found soon after it has been created.

=item flush_timeout => Num

How many seconds L</flush([$cb])> waits before it gives up. Without it, or with 0,
it waits until everything is settled.

=item buffer_memory => Int (default 0)

How many bytes of messages may be queued; 0 means no limit. A message for which there is
no room fails at once: its callback gets C<producer buffer full>, or, if it has none,
C<on_error> does, once until there has been room again; a transaction that it was part of
cannot be committed. What was accepted never fails so later. One that is larger than all of
C<buffer_memory> fails with another text, C<message too large: ...>, since no waiting helps it.
See L</buffered> and L</on_drain($cb)>.

=item on_drain => $cb->()

As with L</on_drain($cb)>.

=item delivery_timeout => Num (default 120)

How many seconds after it was produced a message that was not delivered fails: C<delivery
timed out after ...>, with the last refusal if there was one. Messages of a batch that were
produced within a twentieth of that time fail together, with the last of them. This counts
the time in which there was no broker to send it to, but not that in which the program did
not let the event loop turn. A batch that was sent and refused is
tried again three times all the same, and one that a broker has yet to answer waits for
that. 0 means for ever.

=item request_timeout => Num (default 30)

How many seconds a broker may take to answer a request, beyond what the request itself
lets it wait, C<fetch_max_wait_ms> of a fetch for instance. A produce request gives the broker as long
for its replicas, and 30 s at most, unless C<broker_timeout> says otherwise. The time starts when the request has arrived as far as that is known, and starts anew
while bytes move: a slow line, or a large answer that is on its way, is not late, and what lies
unread in the socket is read first. Then
the connection is given up (C<request timed out: ...>), since answers come in order, and
what was under way there ends as when a broker is lost: see L</What is tried again>.
Fractions are allowed; 0 waits for ever. When a broker does not answer for Metadata the
next one is asked after this time, and after 10 s at the latest. Coordinators of groups
and transactions have 30 s also with 0, and for a heartbeat half the session timeout.

A connection on which nothing has moved for half of this time is asked for a sign of life
before anything else is sent on it: what firewalls and load balancers forget without a
word takes no message along. Of a broker that owes an answer and has said nothing for
5 s (half of C<request_timeout>, if that is less) the cluster is asked; when it has left
the cluster nothing is waited for there but answers to batches that must not be sent twice: see
L</Idempotence>.

=item broker_timeout => Num

How many seconds a broker may take to have what was produced written by all in-sync replicas, with C<acks> -1. Then it
answers C<REQUEST_TIMED_OUT>, and the message is sent again until C<delivery_timeout> is over. By default this is
C<request_timeout>, and 30 at most. If it is longer than that the answer may take as long. (Kafka calls it the
C<timeout_ms> of a Produce request, librdkafka C<request.timeout.ms>.)

=item connections_max_idle => Num (default 540)

After how many seconds without use the client closes a connection, and opens it again when
it is needed; 0 means never. Brokers do so after ten minutes by default
(C<connections.max.idle.ms>), and may then close one to which a message is under way. The
connection that metadata come by stays.

=item librdkafka => \%properties

Options by librdkafka's names, as Net::Kafka takes them and as configuration files have
them:

    my $kafka = EV::Kafka->new(librdkafka => {
        'bootstrap.servers' => 'kafka-1:9092,kafka-2:9092',
        'linger.ms'         => 20,
        'group.id'          => 'readers',       # for subscribe
    });

L<EV::Kafka::Options::Librdkafka> has the table of all names. What has no counterpart croaks
with its name; an option beside C<librdkafka> goes before what it says.

=item loop => $ev_loop

The L<EV::Loop|EV> object to live on. The default is EV's default loop.

=back

C<acks>, C<batch_size>, C<compression>, C<compression_level>, C<linger_ms>, C<partitioner> and the handlers may be
changed at any time, in C<< $kafka->{cfg} >>: they count from the next batch, or call. A value
that makes no sense is told to C<on_notice> and changes nothing.

    $kafka->{cfg}{compression} = 'zstd';

=head2 connect([$cb])

    $kafka->connect(sub {
        my ($meta) = @_;
        print "$_->{host}:$_->{port}\n" for @{ $meta->{brokers} };
    });

Connects to the first bootstrap broker that answers, fetches the metadata of the
cluster, and calls C<$cb> with it, once; see L</Metadata result>. Brokers that do
not answer are passed over silently, and so is an address of several that a name has. If none does, C<on_error> is called, once,
and the client goes on trying in the background; the callback is called when that
succeeds, and with C<(undef, 'client closed')> when the client is closed, or the last reference
to it is gone, before that.

Calling it again while it connects adds a callback. On a client that is connected
the callback is called at once.

Connections to the other brokers are opened when something is to be sent there. The one
that metadata came by is an L<EV::Kafka::Conn|/LOW-LEVEL CONNECTION METHODS> for requests of the program's own, too:
C<< $kafka->{cfg}{bootstrap_conn} >>, from here until the client is closed. If its broker closes it while it is idle it is
opened again.

=head2 produce($topic, $key, $value, [\%opts,] [$cb, [@args]])

    $kafka->produce('topic', 'key', 'value', sub {
        my ($result, $err) = @_;
        ...
    });

    $kafka->produce('topic', 'key', 'value', { headers => { 'h1' => 'v1' } }, sub { ... });
    $kafka->produce('topic', 'key', 'value', { partition => 3 }, sub { ... });
    $kafka->produce('topic', 'key', 'value');

    $kafka->produce('topic', 'key', 'value', undef, \&delivered, $order, 'more');
    sub delivered { my ($result, $err, $order, $more) = @_; ... }

Puts a message into the open batch of its partition, which is sent to the
partition's leader when it has C<batch_size> bytes or has waited for C<linger_ms>, and takes
more messages until it can be sent. Key and value may
be undef, which is not the same as the empty string: a message with a key and
without a value is what deletes the key from a compacted topic.

Messages of one partition are sent in the order in which they were produced, whatever
is said of them.

Messages for a topic that is not known yet are kept until it is. Before
L</connect([$cb])> has succeeded that is every topic; afterwards an unknown topic, or a
partition that a topic is not known to have, is
asked for up to 10 times, which makes brokers create it if they are set up to do so,
and then fails with a text that contains C<unavailable after>. If no callback was
given, C<on_error> gets it. A partition that has no leader for a while is waited for until
C<delivery_timeout>.

A batch that fails with messages that have no callback is reported to C<on_error>, once
for all of them; not if its connection was lost, which is reported itself, nor in a
transaction, whose end says so.

The callback is called once, with the result (see L</Produce result>), or with an
error as second argument. A message that is refused at once, for lack of C<buffer_memory> say,
hears so before C<produce> returns; one that is produced from within such a callback, and is
refused as well, from the event loop. C<base_offset> in the result is the offset of this very
message. If a broker refused the message, the result is there, too, and its
C<error_code> says why; otherwise it is undef. With C<< acks => 0 >> the callback is called when
the message has been given to the operating system, and the result says nothing; until then the
message counts as C<buffered>.

The result may be reused for the next callback if nothing keeps it; what is kept,
is left alone.

Options. An unknown one croaks C<produce: unknown option 'KEY'>.

=over 4

=item headers => \%headers | \@pairs

A hash of names and values, or an array of C<[$name, $value]> pairs, which keeps the
order and may repeat a name. A value may be undef.

=item partition => Int

The partition to use, whatever the key.

=item timestamp => Int

Milliseconds since the epoch. The default is the time of the call.

=item acks => -1 | 0 | 1

Other acknowledgements than the client's. Such messages go in batches and requests of their
own, in their place in the partition's order. With C<idempotent> it stays -1, with one warning.

=back

Options and callback may come in either order; undef in the place of either is the same as
nothing.

What stands behind both, options or undef first, is what the callback gets behind result and error: copies that are
made at the call and let go of when the callback has returned. References lead to what they led to.

Callbacks are cheapest when many messages share one code reference. What belongs to one message goes into arguments of
the callback, not into a closure of its own, which perl takes time to make and to free. On one machine, with 20,000 messages
outstanding, a message took 0.40 microseconds of CPU time with a shared callback and 0.55 with a number or a reference as an
argument of it, and 2.2 with a closure of its own. Freeing would cost more
the more closures are alive; therefore those that nobody else holds are freed together, when the callbacks of an
answer have been called, some thousands at most: what they hold lives as long as that.
Callbacks of many messages that are settled together are called in slices of 20 ms, between which the event loop turns;
C<close> calls all that are left.

A reference in the place of the topic, the key or the value, such as a callback after an
argument that was forgotten, croaks C<produce: key must be a string, not a reference (CODE)>.
Objects that overload strings are strings.

=head2 buffered

    my ($messages, $bytes) = $kafka->buffered;

How much has been accepted and is neither delivered nor failed, with the messages whose
callbacks wait for a turn of the event loop.

=head2 on_drain($cb)

    $kafka->on_drain(sub { resume_reading() });

Sets what is called, without arguments, when a message has been refused for lack of
C<buffer_memory> and no more than half of that is taken any more. undef clears it. A
program that reads faster than brokers write stops reading when C<buffered> nears the
limit, or at the first C<producer buffer full>, and goes on here.

=head2 produce_many(\@messages, [$cb, [@args]])

    $kafka->produce_many([
        ['my-topic', 'k1', 'v1'],
        { topic => 'my-topic', key => 'k2', value => 'v2' },
    ], sub {
        my ($errors) = @_;
        warn "some failed: @$errors\n" if $errors;
    });

Produces several messages and calls C<$cb> when all of them are settled: with a
reference to an array of error texts, one for each message that failed, or with
undef, and C<@args> behind that. A message is an array C<[$topic, $key, $value]>, with the options of
C<produce> as an optional fourth element, or a hash with the keys C<topic>, C<key>,
C<value> and those options. If one of them is malformed it croaks and produces
none. What a C<partitioner> dies of is the error of its message.

Messages with C<< acks => 0 >> are not waited for: if all are such, and with an empty list, the
callback is called at once.

=head2 flush([$cb])

    $kafka->flush(sub {
        my ($err) = @_;
        warn "$err\n" if $err;
        EV::break;
    });

Sends all batches without letting them linger, and calls C<$cb> when everything
that was produced before has been delivered or has failed, after the callbacks of that.
What is produced meanwhile is not waited for. If that takes longer than
C<flush_timeout>, the callback gets a text that contains C<timed out>; the messages
stay where they are and are still delivered.

=head2 purge

    my $messages = $kafka->purge;

Gives up what has been produced and is not on its way: messages that linger, that wait for their topic, a leader, a
connection, or for another try. Their callbacks get C<purged before it was delivered>; nobody else hears of messages
without one. What is on its way stays, and is delivered or fails as ever. It returns how many messages were given up. A
transaction of which some were part has to be aborted. With idempotence a message that was tried before is
missing in its partition, which goes on without it: see L</Idempotence>.

=head2 assign(\@partitions)

    $kafka->assign([
        { topic => 'my-topic', partition => 0, offset => 0 },
        { topic => 'my-topic', partition => 1, offset => 100 },
    ]);

Sets the partitions to consume, in place of those set before. A missing partition
or offset counts as 0; so does an offset that is given and undef, with a warning. The list and its hashes stay the
caller's: C<offset> in them moves as messages are delivered, and an offset that is written
there is where consuming goes on. The offset -2 stands for the earliest, -1 for the latest;
they are looked up by the first C<poll> or C<consume>. Nothing is fetched before
L</consume> or L</poll([$cb])>. An answer that is still on its way to the assignment before
changes nothing. A member of a group is assigned its partitions by the group: there C<assign>
croaks, but for partitions that it owns within C<on_assign>, whose offsets it sets.

=head2 seek($topic, $partition, $offset, [$cb])

    $kafka->seek('my-topic', 0, -1, sub {
        my ($position, $err) = @_;
        print "at $position->{offset}\n" unless $err;
    });

Moves the position of an assigned partition: to an offset, to the earliest (-2) or
to the latest (-1). The position moves also when a fetch is under way. What L</poll([$cb])>
has asked for by then is still delivered; to where the position stands already nothing moves,
and nothing comes twice. After L</consume> and in a group the next message comes from the new
position. A broker answers its fetches one after the other: while one is under way that
has nothing to bring, the partition waits for it to end, C<fetch_max_wait_ms> at the most, as
with L</resume(\@partitions)> and in any Kafka client. While the earliest or latest offset
is looked up, the position stays where it is, and without C<poll> nothing of the partition is
delivered; if none is found, it goes on there. C<$cb> gets the new position as a hash of C<topic>,
C<partition> and C<offset>, or C<(undef, $err)>:

=over 4

=item C<not assigned>

The partition is not among those given to C<assign>.

=item C<no connection to leader>

The earliest or latest offset could not be asked for; the reason may follow.

=back

or what went wrong with the request. Without a callback errors go to C<on_error>.

=head2 position($topic, $partition)

    my $offset = $kafka->position('my-topic', 0);

The offset after the last message of an assigned partition that was delivered; from within
C<on_message> the one after that very message. undef if the partition is not assigned or
its first offset has not been looked up yet.

=head2 pause(\@partitions)

    $kafka->pause([{ topic => 'my-topic', partition => 0 }]);

Delivers no more messages of these partitions and fetches none, until L</resume(\@partitions)>
or a new assignment. It counts from the next message on, also when called by C<on_message>.
What was fetched already, or is about to arrive, is kept. Others that are assigned go on. Partitions that
are not assigned are passed over.

=head2 resume(\@partitions)

    $kafka->resume([{ topic => 'my-topic', partition => 0 }]);

Ends a pause, and brings a message again that C<on_message> died of (C<on_message_die>). What was kept is delivered first, not within this call; where records come by
L</poll([$cb])>, by the next one. What is new comes after the fetch that is under way, as after
L</seek($topic, $partition, $offset, [$cb])>.

=head2 consume

    $kafka->assign([{ topic => 'my-topic', partition => 0, offset => -2 }]);
    $kafka->consume;

Delivers what is assigned, as it comes, until L</stop_consuming>: C<on_message> (or C<on_batch>) is called
for what is there and for what is new, from the event loop, and of what is assigned later, too. It may be called at
any time, also before the client is connected; once more it changes nothing. A broker is asked for
the next records before those that came are checked and delivered, one answer ahead at the most; of an answer one
batch at a time is decompressed. Delivering takes turns
with the event loop, and partitions that cannot be fetched from are tried again, as described under L</poll([$cb])>; where a
position is out of range, consuming goes on at the earliest offset, and no callback hears of it.

A member of a group need not call this: L</subscribe(@topics, %opts)> does.

=head2 stop_consuming

    $kafka->stop_consuming;

Delivers no more messages until L</consume> or L</poll([$cb])>. It counts from the next message on (with
C<on_batch> from the next batch), also when called by C<on_message>. What was fetched and not delivered,
or is about to arrive, is kept, and comes first afterwards; positions are exact. A call of C<poll> that is still under way
gets what it has asked for. Nothing more is fetched, but for what C<poll> asks for.

A member of a group stays one: its partitions, its heartbeats and its commits go on, through rebalances, and nothing
is delivered until C<consume>. C<unsubscribe> stops consuming as well, and the next C<subscribe> starts it.

=head2 poll([$cb])

    my $timer = EV::timer 0, 0.1, sub { $kafka->poll };

Fetches once from every broker that leads an assigned partition, and calls
C<on_message> for each message. C<$cb> is called once, when all answers have arrived
and have been delivered. A broker that has not answered the last fetch yet gets no
other; this call then waits for the answer to that one. With nothing assigned, or
nothing that has a leader, the callback is called at once, from within poll. Before the client is
connected, it waits until it is.

Delivering takes turns with the event loop: after some milliseconds in C<on_message> the
loop handles what else there is, and then the next messages come. A broker that had more than
one answer holds is asked for the next one while the last is delivered; that waits, at most
one answer a broker, until poll is called again.

To consume all that comes, L</consume> is simpler than polling by a timer. C<poll> is for programs that
want to say when; one that wants as much as it gets polls again from the callback:

    sub next_round { $kafka->poll(sub { my ($err) = @_; ...; next_round() }) }

A poll from within the callback of another one, and any while everything is paused, never
calls back from within: with nothing to fetch from it waits C<fetch_max_wait_ms>, as for a
broker that has nothing, unless L</resume(\@partitions)>, L</assign(\@partitions)> or a new
leader gives it something to fetch before.

What can go wrong with a partition:

=over 4

=item Its position is out of the range of what the broker still has, or already has

The callback gets a text that contains C<OFFSET_OUT_OF_RANGE>, and the position
moves to the earliest offset, or where L<auto_offset_reset|/new(%options)> says.

=item Its log is not the one that was read

After an unclean election messages that were delivered may be gone, and others have their
offsets (KIP-320): C<on_error> gets a text that contains C<was truncated>, and consuming goes on
where the logs part. Of a topic that was deleted and created again the positions are looked up
anew, at the earliest offset, as soon as metadata shows its new id (KIP-516). A fetch that is
refused because the topic was gone, or because it has not got that far again, makes it look; a
fetch itself names topics by name, so that a topic which was replaced between two of them, and
already is as long as the old one, is noticed with the next C<metadata_refresh>.

=item Its leader is another broker by now

Metadata is fetched and the next poll goes to the right one. C<on_error> hears of
it only if it goes on.

=item Anything else

C<on_error> gets a text that contains C<code> and the number, once for a partition
until the next C<assign>. The position stays, and later polls try again, with growing
delays. A batch that is damaged is such an error; C<seek> goes past it.

=back

If the broker does not answer at all, the callback gets the reason.

=head2 offsets_for($topic, $cb)

    $kafka->offsets_for('my-topic', sub {
        my ($offsets, $err) = @_;
        # { 0 => { earliest => 0, latest => 42 }, 1 => ... }
    });

Looks up the earliest offset of every partition of a topic and the one that the
next message will get. Partitions for which that failed lack a value; C<$err> then
says why.

=head2 offsets_for_times(\%times, $cb)

    $kafka->offsets_for_times({ 'my-topic:0' => 1_700_000_000_000 }, sub {
        my ($found, $err) = @_;
        # { "my-topic:0" => { offset => 17, timestamp => 1_700_000_000_123 } }
    });

Looks up the first message of each partition whose timestamp is at or after the given one,
in milliseconds since 1970. The value is undef where there is none. Partitions for which
that failed are left out; C<$err> then says why.

=head2 lag($cb)

    $kafka->lag(sub {
        my ($lag, $err) = @_;
        # { "topic:0" => { current => 10, latest => 42, lag => 32 } }
    });

Tells how far the positions of all assigned partitions are behind. Partitions for
which that could not be found out are left out; C<$err> then says why.

=head2 metadata

What is known of the cluster, without asking anybody: as L</connect([$cb])> calls back with it, kept up to date. Undef before
the first answer.

=head2 is_connected

Whether brokers have answered, and not all of them are lost since. That says little of the next request; it is for
health checks.

=head2 assignment

    # [{ topic => 'my-topic', partition => 0, offset => 42 }, ...]

What is assigned, by C<assign> or by a group, and the position of each as C<position> gives it; below 0 as long as it is looked
up. It is a copy.

=head2 subscription

The topics that were given to C<subscribe>, as a list reference; an empty one without a group.

=head2 stats

    my $stats = $kafka->stats;
    printf "%s:%d lag %d\n", 'my-topic', $_, $stats->{topics}{'my-topic'}{$_}{consumer}{lag} // -1
        for sort keys %{ $stats->{topics}{'my-topic'} };

What the client is doing, in numbers. Counting begins with the first call, or with the client if it has C<on_stats>, and goes on
from there; before that it costs nothing. What cannot be known is undef.

    { client_id   => 'ev-kafka',
      time        => 1764528000.5,           # seconds since 1970
      counted_for => 30,                     # seconds since counting began
      brokers => {                           # by node id, all connections of a broker together
          1 => { host => '10.0.0.1', port => 9092,
                 connections => { main => 'ready', fetch => 'ready' },
                 requests => {               # by API
                     Produce => { sent => 90, answered => 89, total_ms => 412.5,
                                  round_trip_ms => { p50 => 4.1, p90 => 6, p99 => 11, max => 12 } } },
                 bytes_in => 10_240, bytes_out => 812_004, bytes_queued => 0,
                 in_flight => 1, connects => 2,
                 throttled => { answers => 0, ms => 0 } },
      },
      bootstrap => { ... },                  # the same of the connection that asks for metadata
      topics => { 'my-topic' => { 0 => {     # partitions that are written to or assigned
          leader   => 1,
          producer => { waiting => 12, waiting_bytes => 1_300, in_flight => 1,
                        batches => 88, messages => 9_120, bytes => 801_220, largest => 16_300,
                        retries => 0, failed => 0 },
          consumer => { position => 42, high_watermark => 45, last_stable_offset => 45, lag => 3,
                        paused => 0 } } } },
      producer => { messages => 112, bytes => 13_000, buffer_memory => 0, is_full => 0,
                    producer_id => -1, producer_epoch => -1 },
      share_group => undef,
      group => { group_id => 'workers', group_protocol => 'classic', group_instance_id => undef,
                 member_id => '...', generation => 3, state => 'stable', partitions => 4 },
      transaction => { transactional_id => 'copy-1', state => 'open', number => 17 } }

What C<brokers> have is described at L</stats([@others])> of a connection; C<connections> tells how far each is: C<idle>,
C<connecting>, C<ready> or C<checking>. Of a partition that is written to, C<waiting> counts the messages that have not left,
C<in_flight> the batches that wait for their answer, C<batches>, C<messages> and C<bytes> what brokers have taken, C<bytes>
as they were sent, compressed where they were, C<largest> the largest batch, C<retries> how often batches had to be sent
again, C<failed> messages that were given up. Of one that is read, C<lag> is how many offsets lie between the position and
what may be read, which is up to the last stable offset with C<read_committed>, as far as the last answer has told.
C<lag> itself asks the brokers. C<group> is undef without a group, C<share_group> (C<group_id>, C<member_id>, C<member_epoch>, C<state>, C<partitions>, and records that are C<waiting> or
C<in_hand>) without a share group, C<transaction> without a C<transactional_id>.

What counting costs goes by requests and batches, not by messages. Of the 5,800 instructions that a produced message of
100 bytes with a callback takes, it makes up 4 with batches of the default size, 0.8 with full ones of 100 kB; where every
message is a request of its own, 700 of 44,000. A call of C<stats> takes 120,000 with one broker and four partitions. Where
nothing is counted there is nothing but one condition a request and one a batch. F<bench/instructions.pl> measures it.

F<eg/metrics.pl> serves these numbers to Prometheus.

=head2 error_name($code)

    $kafka->error_name(3);                      # UNKNOWN_TOPIC_OR_PARTITION
    EV::Kafka::Client::error_name(3);           # the same

The name of one of Kafka's error codes: C<NONE> for 0, C<UNKNOWN> for numbers that
the protocol does not define.

=head2 subscribe(@topics, %opts)

    $kafka->subscribe('topic-a', 'topic-b',
        group_id             => 'my-group',
        session_timeout      => 30000,        # ms
        rebalance_timeout    => 60000,        # ms
        heartbeat_interval   => 3,            # s
        auto_commit          => 'done',       # only what done was called for; 1, the default: all
                                              # that was delivered before partitions are given up
        max_in_progress      => 1000,         # of a partition, with auto_commit => 'done'
        auto_commit_interval => 5,            # s; also in between and at exit, by default not
        auto_offset_reset    => 'earliest',   # or 'latest', 'none', 'by_duration:PT1H'
        assignors            => ['sticky', 'range'],
        group_instance_id    => 'pod-abc',    # static membership, KIP-345
        on_assign            => sub { my ($partitions) = @_; ... },
        on_revoke            => sub { my ($partitions) = @_; ... },    # or on_revoke_async
        on_lost              => sub { my ($partitions) = @_; ... },
    );

Joins a consumer group, which shares the partitions of the topics out among its
members, and consumes without being asked: C<on_message> (or C<on_batch>) gets the
records, neither L</consume> nor C<poll> is needed. The names of the topics come first, the name of the
first option ends them. Subscribing again leaves the group and joins anew.

A pattern may stand among the topics, or several:

    $kafka->subscribe(qr/^orders-/, 'payments', group_id => 'auditors');

It is matched here, in both protocols and with any broker, against the names of all topics that the program may see, but for Kafka's
internal ones. It need not match all of a name, hence the C<^>. Each time that metadata say so, at least every C<metadata_refresh>
seconds, topics that are new come in and those that were deleted go out, which is a rebalance. C<subscription> tells what
matches now. With C<< group_protocol => 'consumer' >> and Kafka 4.0 the brokers can do that,
by C<< subscribe_pattern => 'orders-.*' >>, beside topics or in their place: a regular expression of RE2 in a string, which has to
match a whole name. The members need not know of other topics then, and a new one is consumed sooner.

C<on_assign> gets the partitions that have come, C<on_revoke> those that are about to
go, each as a list of C<{ topic, partition, offset }>. Offsets that no member has committed are looked
up first, for C<request_timeout> at the most; partitions whose offset is not known by then, as
without a leader, come in an C<on_assign> of their own. Nothing is fetched of a partition before
C<on_assign> has returned. It may say where to begin, in place:

    on_assign => sub { $_->{offset} = stored_offset($_) for @{ $_[0] } },

or by C<assign> with these partitions; -2 and -1 are looked up, undef, or none, leaves the offset as
it is. What is revoked is still
assigned while C<on_revoke> runs, so a C<commit> there reaches the coordinator before
the partitions reach another member. C<on_assign> is called after every rebalance,
also when nothing has come.

By default positions are committed when partitions are given up, and at L</unsubscribe([$cb])>
and L</close([flush =E<gt> $seconds], [$cb])>: a program that fails reads again what came since the last rebalance. With
C<auto_commit_interval> they are also committed in between, every so many seconds, up to the last record
whose handler has returned. What works on after its handler has returned says itself what it is done with
(C<< auto_commit => 'done' >>, L</done($topic, $partition, $offset)>), or commits by itself
(C<< auto_commit => 0 >>, L</commit([\@offsets], [\%options], [$cb])>).

A program that ends without C<close>, by C<exit>, C<die> or at its last line, leaves its
groups in an END block, so that others have the partitions at once (not those of a static
member, whose place is kept). With C<auto_commit_interval> it also commits there what was
handled since the last time: the record whose handler has called C<exit> is read again, no other. This takes a
second at most; no callback of the program is called, its event loop does not run, and the exit
status stays. Nothing of it happens in a child of C<fork>, nor where perl runs no END blocks: after a signal
that is not handled, C<exec> and C<POSIX::_exit>. A member then is missed when its session ends. Where
the program has a callback for SASL/OAUTHBEARER's token, it is said over the connection that is there, and no answer
is waited for.

C<< on_revoke_async => sub { my ($partitions, $done) = @_; ... } >>, in place of C<on_revoke>, may take its time, to
finish what it is at: nothing more is delivered of these partitions, they are still assigned, and the member
stays one, until C<< $done->() >> is called. Then positions are committed as after C<on_revoke>, with what
L</done($topic, $partition, $offset)> was called for meanwhile, and the partitions go:

    on_revoke_async => sub {
        my ($partitions, $done) = @_;
        $workers->when_idle($done);
    },

The others in the group wait for it. After four fifths of C<rebalance_timeout> the partitions are given up
whether it has called back or not, which C<on_notice> hears of; what comes later counts for nothing. The same at
C<unsubscribe>. When the membership has been lost, nothing is waited for. When it dies that is a warning, and as
good as calling back.

C<on_lost> is called instead of C<on_revoke> when the group has given this member up, or
this member the group: the partitions are another member's by now, who may have gone
further. A C<commit> there fails at once, and so do those that still wait. Without
C<on_lost> it is C<on_revoke>, or C<on_revoke_async>, that is called. The member joins again; C<on_notice> tells why it was out.

Whenever a member comes or goes, or a topic appears, changes its number of partitions or
is deleted, the group is rebalanced. With the
assignors C<sticky>, C<range> and C<roundrobin> everybody gives up everything first,
and gets back what C<sticky> lets stay. If all of C<assignors> are cooperative
(C<cooperative-sticky> is, KIP-429), members keep what stays theirs, whose records
keep flowing, and only what moves is revoked. All members of a group must have an
assignor in common; Java's and librdkafka's know C<range>, C<roundrobin> and
C<cooperative-sticky>, Java's also C<sticky>.

A partition is consumed from the group's committed offset; if there is none, from
where this member has come to before, or as L<auto_offset_reset|/new(%options)> says. With C<none> C<on_assign> gets it without
an offset, and may say one; otherwise C<on_error> hears that there is none, and nothing is fetched of it until C<seek> says
where to begin.

Heartbeats are sent while the event loop turns, and it turns between two calls of
C<on_message>. Handlers that are slow together do not lose the membership; B<one
call> that takes longer than C<session_timeout> does, and the group goes on without
this member until that call has ended. Then, as after having been stopped for so long,
nothing more is delivered before the coordinator has said who has the partitions now.

With C<< group_protocol => 'consumer' >> the group speaks the protocol of Kafka 4
(KIP-848) instead of C<classic>: the coordinator assigns, members are told one by one,
and nobody waits for everybody. What stays keeps flowing, as with
C<cooperative-sticky>. C<group_remote_assignor> chooses among the coordinator's
assignors, C<uniform> (the default there) and C<range>; C<assignors>,
C<session_timeout> and C<heartbeat_interval> do not count, the last two are the
broker's. All members of a group speak the same protocol.

With C<group_instance_id> the member keeps its partitions for C<session_timeout> after
it has left, in case it comes back. Two members of the same name cannot be: the first
one gets C<FENCED_INSTANCE_ID> by C<on_error> and stops. By the C<consumer> protocol the
second one tries for 45 seconds, as long as a session lasts by default, since the first may
have died without a word; then it stops, with C<UNRELEASED_INSTANCE_ID>.

If the coordinator is lost, another one is looked for; that may take as long as it
takes. A request that is answered with an error that Kafka calls retriable is sent again,
ever more slowly; with UNKNOWN_SERVER_ERROR five times. When a JoinGroup has been sent and lost five times more, or has been refused
for good, the member stops: C<on_lost> and C<on_error> are called, and
C<< $kafka->{cfg}{group}{state} >> is C<stopped>.

=head2 commit([\@offsets], [\%options], [$cb])

    $kafka->commit(sub {
        my $err = shift;
        warn "commit failed: $err" if $err;
    });
    $kafka->commit([{ topic => 'jobs', partition => 0, offset => 43, metadata => 'batch 7' }], $cb);
    $kafka->commit(\@offsets, { group_id => 'readers' }, $cb);        # of a group that it is no member of

Commits what has been delivered so far, up to and including the record that
C<on_message> is being called with; or the offsets that are given, each that of the next record
to be read, with C<metadata>, a string that the group keeps beside it, if wanted. Only
partitions that are assigned to this member can be committed. The callback gets undef, or an error that names
the partitions that have one; without a callback C<on_error> gets the error. During a rebalance
the commit waits for its end, and fails for partitions that have gone to others. After
C<rebalance_timeout> it fails with C<timed out>, and may still be done later.

Of a group's commits one is under way at a time; what is committed meanwhile goes with the
next one, the newest offset of each partition. What the coordinator could not do for the
moment is tried again with what is newest by then, so that what is stored never goes
back by itself. A topic that has been deleted is left out, unless C<@offsets> names it.

With C<group_id> these are offsets of a group that the client is no member of: a program that assigns its partitions
itself has a place to keep where it stands, and a tool may put a group somewhere else while nobody is in it. Without
C<@offsets> it is the position of every partition that is assigned. One commit of a group is under way at a
time here as well, and the coordinator is asked eight times. When the group has members it takes offsets from them only:
C<UNKNOWN_MEMBER_ID>.

    $kafka->committed(\@partitions, { group_id => 'readers' }, sub {
        my ($offsets, $err) = @_;
        return warn "$err\n" if defined $err;
        $kafka->assign([map { +{ %$_, offset => $offsets->{"$_->{topic}:$_->{partition}"} // -2 } } @partitions]);
    });

=head2 done($topic, $partition, $offset)

    $kafka->subscribe('jobs', group_id => 'workers',
        auto_commit          => 'done',
        auto_commit_interval => 1,
        max_in_progress      => 50,
    );
    # and in on_message
    call_somebody($value, sub { $kafka->done($topic, $partition, $offset) });

For work that goes on after C<on_message> has returned, and ends in any order. With C<< auto_commit => 'done' >> a
record that was delivered is in progress until C<done> is called with its topic, partition and offset. What
is committed, at C<auto_commit_interval>, when partitions are given up, at C<unsubscribe>, at C<close> and by C<commit>
without offsets, is the offset of the first record of a partition that is in progress, or the position when
there is none. So a program that is killed loses no record: each is delivered again, to another member, unless C<done>
was called for it and for all before it. Some of those that were done are delivered again as well. Offsets that were never
delivered, of records that were compacted away, of aborted transactions and of the ends of transactions, are not waited for.

At most C<max_in_progress> records of a partition are in progress, 1000 unless the option says otherwise. Then the
partition waits, and goes on as soon as one of them is done; others are not affected, and neither are C<pause> and
C<resume>, which are the program's. C<on_batch> gets no more records at once than there is room for.

It returns 1 if the record was in progress, and 0 otherwise, which is no error: when C<done> was called for it
before, when it was not delivered, when its partition has been given up since, or there is no group any more. When the
partition has come back meanwhile, the record is delivered, and in progress, again. A C<seek> to an offset
ends the progress of what will be delivered again, and of nothing before. A record whose handler dies is in
progress all the same (with C<< on_message_die => 'hold' >> it is the next one). C<send_offsets_to_transaction> sends
positions as they were delivered, whatever is done.

F<eg/async_worker.pl> is a program that works so, and may be killed at any time.

=head2 committed([\@partitions], [\%options], $cb)

    $kafka->committed(sub {
        my ($offsets, $err) = @_;
        # { "topic:0" => 42, "topic:1" => undef }
    });

The group's committed offsets of the partitions that are given as a list of C<{ topic, partition }>, or of those that are
assigned now; undef where there is none. With C<< { group_id => 'readers' } >> those of a group that the client is
no member of, of which the coordinator is asked eight times. Offsets of transactions that are still open are waited for, at most
C<rebalance_timeout>.

=head2 unsubscribe([$cb])

Leaves the group: C<on_revoke> is called, C<on_revoke_async> may take its time, positions are committed if C<auto_commit> is
on, and the coordinator is told, so that the others get the partitions at once (not by
a static member). The callback gets undef, or the error of that commit, or
C<client closed> when C<close> comes first. A coordinator
that does not answer then holds this up for five seconds at most; a commit that is
unanswered by then counts as failed.

=head2 subscribe_share(@topics, %opts)

    $kafka->subscribe_share('jobs',
        group_id       => 'workers',
        on_record      => sub { my ($record) = @_; ... },
        explicit       => 0,                  # 1: the program says what becomes of each record
        max_records    => 500,                # of one fetch
        max_in_hand    => 1000,               # not settled, in all
        max_wait       => 0.5,                # s, that a broker may wait for records
        max_bytes      => 1_048_576,          # as fetch_max_bytes of the client
        min_bytes      => 1,                  # as fetch_min_bytes
        acquire_mode   => 'batch_optimized',  # or 'record_limit': never more than max_records
        rack           => 'eu-1a',            # where this member is
        on_assign      => sub { my ($partitions) = @_; ... },
        on_acknowledge => sub { my ($about, $error) = @_; ... },
        on_error       => sub { my ($error) = @_; ... },
    );

Joins a share group (KIP-932), a queue: several members fetch the same partitions, and each record goes to one of them.
L<EV::Kafka::Manual::ShareGroups> explains it, with recipes. It needs brokers of Kafka 4.2, or of 4.1 with the feature C<share.version>.
The client may be a member of an ordinary group (L</subscribe(@topics, %opts)>) at the same time. Subscribing again leaves the share group
and joins another one.

C<on_record> gets each record as an L<EV::Kafka::ShareGroup::Record>, with C<topic>, C<partition>, C<offset>, C<key>, C<value>, C<headers>, C<timestamp> and
C<delivery_count>, and with C<accept>, C<release>, C<reject> and C<renew>. When the callback returns the record is accepted, when it dies it
is released, unless it has said otherwise before; the death is a warning. With C<explicit> neither happens: the record is in hand until the program
settles it, its lock runs out, or the group is left.

C<on_assign> is told which partitions are fetched, as C<[{ topic, partition }, ...]>, whenever these are others. C<on_acknowledge> is told what
came of records that were settled: C<< { topic, partition, offsets => [...] } >>, and an error when the broker has not taken it, or the
record was not held any more; then it may come again. Without C<on_acknowledge> C<on_notice> is told of these errors. C<on_error> of the client is told
what has ended the membership, and of records that cannot be read; an C<on_error> given here takes its place.

=head2 unsubscribe_share([$cb])

Leaves the share group: what was settled is told, what is in hand or was not handed over goes back, and the coordinator is told. A handler that
is at a record comes to its end first. Brokers that do not answer hold this up for five seconds at most. C<close> does the same without
waiting for answers, L</close([flush =E<gt> $seconds], [$cb])> with seconds waits.

=head2 transaction($work, [\%how,] [$cb])

    $kafka->transaction(sub {
        $kafka->produce('invoices', $id, $invoice);
        $kafka->produce('ledger', $id, $entry);
    }, sub {
        my ($result, $error) = @_;
        warn "nothing was written: $error\n" if defined $error;
    });

Begins a transaction, calls C<$work>, and commits it when that has returned; what it dies of aborts the
transaction. So does a message that fails, or offsets that are refused. The callback is called once, when it is all over and the next transaction can
begin: with C<< ({ error_code => 0 }, undef) >>, or with C<(undef, $error)>, where the error is what the work
has died of, or why there was no commit. Then nothing of it can be seen by who reads C<read_committed>, and positions are where they were. If it is not known whether
the commit has happened, this finds out. Without a callback C<on_error> gets the error.

Work that goes on after it has returned either returns a promise, which is waited for (a L<Mojo::Promise>, a L<Future>, an L<AnyEvent> condvar, or anything
else with a method C<then>), or asks for a code reference to call at its end, with an error or with nothing:

    $kafka->transaction(sub {
        my ($done) = @_;
        look_up($id, sub {
            my ($invoice) = @_ or return $done->("no invoice $id");
            $kafka->produce('invoices', $id, $invoice);
            $done->();
        });
    }, { async => 1 }, $cb);

The work need not wait for what it produces: the commit does.

A member of a group, also one that has subscribed within the work, makes the positions that it has come to part of the transaction, as
L</send_offsets_to_transaction($group_id, [$cb])> does, which also says until when nothing more is delivered. C<< group_id => 'g' >> beside C<async> does so
for positions by C<assign>, and C<< group_id => undef >> leaves them out. Subscribe with C<< auto_commit => 0 >>: only the transaction is to move
the group's offsets. Messages that were delivered before are not part of it: what is called from within C<on_message> or C<on_batch> does not bring
the messages there again when it is aborted. L</Process exactly once> shows what does.

Within the work C<commit_transaction> and C<abort_transaction> croak, C<die> aborts.

=head2 begin_transaction

Starts a transaction; needs the option C<transactional_id>. What is produced from here
on is part of it, also before C<connect>. What was produced before is sent without a
transaction; if that fails and leaves a gap, see L</Idempotence>, its partition goes on all
the same. Only if it is not certain what became of it, and the transaction has begun to
write, the transaction must be aborted first. It croaks while another transaction is open or still ending.

=head2 send_offsets_to_transaction($group_id, [$cb])

    $kafka->send_offsets_to_transaction('my-group', sub {
        my ($result, $err) = @_;
    });

Makes the positions of all assigned partitions, as far as messages have been delivered,
part of the transaction: they become the group's when it is committed, together with
what was produced. A member of the group sends them as that member, and is refused once
it has been thrown out of the group (KIP-447). When a rebalance has taken a partition
away of which messages were delivered since C<begin_transaction>, it fails, and the
transaction has to be aborted: the partition's next owner begins where the group is.
The result is that of TxnOffsetCommit, with C<< error_code => 0 >> beside C<topics>.
From this call to the next C<begin_transaction> no message is delivered.

=head2 commit_transaction([$cb])

    $kafka->commit_transaction(sub {
        my ($result, $err) = @_;
        warn "not committed: $err\n" if defined $err;
    });

Sends what has been produced, waits until all of it is acknowledged, and makes it
visible to consumers with C<< isolation_level => 'read_committed' >>. The callback gets
C<< ({ error_code => 0 }, undef) >>, or C<(undef, $err)>; without a callback C<on_error> gets
the error:

=over 4

=item *

C<...: the transaction cannot be committed; call abort_transaction>. A message has failed,
for whatever reason, C<producer buffer full> among them, or an offset was refused. The transaction is still open. After C<abort_transaction> the next
one can begin.

=item *

C<PRODUCER_FENCED>, C<INVALID_PRODUCER_EPOCH> and what else is final: another producer
uses the transactional id, the transaction took longer than C<transaction_timeout>, or
the client may not do this. The transaction is aborted, C<on_error> is told as well, and
this client produces no more.

=item *

C<...: whether the transaction was committed is not known; call commit_transaction to ask
again, or call abort_transaction>. The coordinator was asked to commit and has not answered in
time. C<abort_transaction> fails with C<the transaction was committed before> where that is
so: then the positions stay, and the next transaction can begin.

=back

Each request of a transaction is tried again for C<delivery_timeout>, and for half of
C<transaction_timeout> at the most: what is left of that is for the abort. So the callback
comes at the latest after twice that time, or, where messages still arrive, as long after the
last one. C<on_notice> hears of requests that are tried for some seconds. What is produced after something has failed fails
at once, for the same reason.

What is produced before the callback is not part of this transaction: it is kept for the next
one, and is sent after C<begin_transaction>; without that it fails after C<delivery_timeout>.
C<flush> waits for it as for everything. What is produced between the callback and
C<begin_transaction> is sent without a transaction.

=head2 abort_transaction([$cb])

Drops the transaction's messages and offsets. What was not sent yet fails with
C<transaction aborted>, as does what is produced before the callback. The positions go back
to where they were at C<begin_transaction>; until they are there no message is delivered, and
what had been fetched by then comes again behind what goes before it. What has no answer yet
is waited for, for a second at most. The callback gets C<< ({ error_code => 0 }, undef) >>, or
C<(undef, $err)>: a final error, or C<...: call abort_transaction again> when the coordinator
has not answered in the time that a request may take. Without a callback C<on_error> gets the
error. A program
that consumes without end begins the next transaction there: what is delivered before it
begins is not part of it.

Like C<send_offsets_to_transaction> and C<commit_transaction> it croaks when no
transaction is open.

C<close> does not abort. The coordinator does, after C<transaction_timeout>, or as soon as
another producer with the same C<transactional_id> connects.

=head2 close([flush => $seconds], [$cb])

    $kafka->close(flush => 10, sub {
        my ($err) = @_;
        warn "$err\n" if defined $err;
        EV::break;
    });
    $kafka->close;                      # now

Stops all timers, drops all connections, then calls C<$cb>. What was produced and not
sent gets the error C<client closed>, what was under way C<disconnected>; waiting
C<flush> and C<poll> callbacks are called. Nothing is sent afterwards. A member of a group says goodbye, and commits if
C<auto_commit> is on, but waits for no answer, and C<on_revoke> is not called. A second close only calls back.

With C<flush> it ends in order: nothing more is delivered, what was produced is sent, the group is left as by
L</unsubscribe([$cb])>, with C<on_revoke> or C<on_revoke_async>, and what these have produced is sent, too. Then it closes. All
of this may take so many seconds; after them it closes in any case. The callback gets an error if messages are not known to
be settled by then or the positions not to be committed. Until then the client can be used as before, and a plain C<close>
closes at once.

=head1 ADMIN METHODS

Topics, settings, groups, rules and all else that operators look at and change. L<EV::Kafka::Admin> describes these methods; each takes
what it is about, C<\%options> and a callback, and calls back with C<($result, $error)>:

    $kafka->describe_groups(['billing'], sub {
        my ($result, $error) = @_;
        return warn "$error\n" if defined $error;
        print "$_->{group_id}: ", $_->{state} // 'unknown', "\n" for @{ $result->{groups} };
    });

=over 4

=item create_topics: L<creates topics|EV::Kafka::Admin/create_topics>

=item delete_topics: L<deletes them|EV::Kafka::Admin/delete_topics>

=item create_partitions: L<adds partitions|EV::Kafka::Admin/create_partitions>

=item describe_topics: L<topics, partitions, replicas|EV::Kafka::Admin/describe_topics>

=item describe_configs: L<settings of topics, brokers, groups|EV::Kafka::Admin/describe_configs>

=item alter_configs: L<changes some of them|EV::Kafka::Admin/alter_configs>

=item list_config_resources: L<what has settings|EV::Kafka::Admin/list_config_resources>

=item list_groups: L<all groups|EV::Kafka::Admin/list_groups>

=item describe_groups: L<groups of each kind, with their members|EV::Kafka::Admin/describe_groups>

=item describe_share_groups: L<share groups, and where they are|EV::Kafka::Admin/describe_share_groups>

=item delete_groups: L<deletes groups|EV::Kafka::Admin/delete_groups>

=item alter_group_offsets: L<sets where a group goes on|EV::Kafka::Admin/alter_group_offsets>

=item delete_group_offsets: L<forgets it|EV::Kafka::Admin/delete_group_offsets>

=item remove_members: L<makes members leave|EV::Kafka::Admin/remove_members>

=item list_offsets: L<offsets by time, and special ones|EV::Kafka::Admin/list_offsets>

=item delete_records: L<deletes what is before an offset|EV::Kafka::Admin/delete_records>

=item describe_producers: L<who writes a partition|EV::Kafka::Admin/describe_producers>

=item elect_leaders: L<elects leaders|EV::Kafka::Admin/elect_leaders>

=item alter_reassignments: L<moves replicas|EV::Kafka::Admin/alter_reassignments>

=item list_reassignments: L<what is on the move|EV::Kafka::Admin/list_reassignments>

=item describe_cluster: L<brokers and controller|EV::Kafka::Admin/describe_cluster>

=item describe_log_dirs: L<which partition lies where|EV::Kafka::Admin/describe_log_dirs>

=item describe_quorum: L<the controllers|EV::Kafka::Admin/describe_quorum>

=item describe_features: L<levels of features|EV::Kafka::Admin/describe_features>

=item update_features: L<sets them|EV::Kafka::Admin/update_features>

=item describe_acls: L<access rules|EV::Kafka::Admin/describe_acls>

=item create_acls: L<adds rules|EV::Kafka::Admin/create_acls>

=item delete_acls: L<deletes rules|EV::Kafka::Admin/delete_acls>

=item describe_scram_users: L<users with SCRAM credentials|EV::Kafka::Admin/describe_scram_users>

=item alter_scram_users: L<adds, changes, deletes them|EV::Kafka::Admin/alter_scram_users>

=item describe_quotas: L<quotas|EV::Kafka::Admin/describe_quotas>

=item alter_quotas: L<changes them|EV::Kafka::Admin/alter_quotas>

=item list_transactions: L<all transactions|EV::Kafka::Admin/list_transactions>

=item describe_transactions: L<some of them in detail|EV::Kafka::Admin/describe_transactions>

=item abort_hanging_transaction: L<ends one that its coordinator has forgotten|EV::Kafka::Admin/abort_hanging_transaction>

=item fence_producers: L<ends transactions and those who have them|EV::Kafka::Admin/fence_producers>

=back

=head1 LOW-LEVEL CONNECTION METHODS

    my $conn = EV::Kafka::Conn->new;
    $conn->on_error(sub { warn "$_[0]\n" });
    $conn->on_connect(sub {
        $conn->metadata(undef, sub { my ($result, $err) = @_; ... });
    });
    $conn->connect('127.0.0.1', 9092, 5.0);

C<< EV::Kafka::Conn->new(loop => $loop) >> lives on an L<EV::Loop|EV> object of the program's, which the
connection keeps, instead of the default loop. In a child of C<fork> see
L</PROCESSES THAT FORK>.

Requests croak C<not connected> unless the connection is ready. Their callbacks get
C<($result, undef)> or C<(undef, $error)>. They are answered in the order in which
they were sent, and may be sent without waiting for answers. When the connection is
lost they get C<connection closed by broker>, or the reason; after C<disconnect>
they get C<disconnected>. A callback that is called before the method returns (a message
with C<< acks => 0 >>, a request that the broker does not speak) may call the method
again, without end: from some depth on the loop makes the calls, in the same order.

Each request is sent in the newest version that both sides speak. A request that the
broker does not speak in any version of ours fails through its callback. So does one
whose arguments need a newer version than the broker has, and one with a string of more
than 32767 bytes.

Arguments are taken as Perl takes them. Strings are sent as the bytes that Perl has, see
L</BYTES, NOT CHARACTERS>. Undef is what the description says, else the default, the
empty string or 0. An object with overloading is the text or number that it makes of
itself; numbers lose what follows the decimal point. What cannot be meant croaks and
changes nothing: a reference in the place of a string or number
(C<fetch: offset must be a number>), and a number that its field cannot hold
(C<fetch: offset out of range>). Options that are not known are ignored.

An answer that breaks off yields what was complete before the break, with
C<< truncated => 1 >> beside it.

=head2 Life of a connection

=head3 connect($host, $port, [$timeout])

Connects. C<$timeout> is in seconds, fractions allowed: 10 when left out, 0 for none.
It covers connecting (C<connect timeout>), and again each phase of the handshake
(C<handshake timeout>). A name's addresses, IPv6 and IPv4, are tried one after the other
in the order in which the system gives them, beginning with the one that worked last; each has its share of the time, and when none
of several takes the connection the error is C<connect: all addresses failed>. When one takes it
and then is of no use (it says nothing, or is no Kafka broker), the next connect begins with the address after it. Finding the
addresses does not block the loop, and its time counts. On a connection that is connected the old one is dropped
first; its callbacks get C<reconnecting>.

=head3 disconnect

Disconnects. Also ends L</auto_reconnect($enable, [$delay_ms])>'s tries.

=head3 connected

True if requests can be sent.

=head3 state

A number: 0 disconnected, 1 connecting, 2 TLS handshake, 3 SASL handshake, 4 SASL
authentication, 5 asking for the versions that the broker speaks, 6 ready.

=head3 pending

How many requests have not been answered.

=head3 api_versions

    # { 0 => 11, 1 => 17, 3 => 13, ... }

A hash of API keys and the highest version of each that the broker speaks; undef
before it has said so. What is not in it is not sent: the request's callback gets
C<the broker does not offer I<request>>. A broker that lists neither DescribeGroups (15) nor ListGroups (16) is taken for
one that a test has made for itself, and is asked all the same.

=head3 features

    # { epoch => 12, finalized => { 'group.version' => 1, ... }, supported => { 'group.version' => [0, 1], ... } }

What the broker said of features (KIP-584) when the connection was made: the levels that its cluster has agreed
on, and the lowest and highest level that the broker can have. A feature that is not among the C<finalized> ones is
switched off. Undef when it said nothing: brokers before Kafka 2.4 do not, and a connection that is
not a client's does not ask.

=head3 on_error([$cb])

Sets what is called, with a text, when the connection fails. As with the next two,
calling it without an argument, or with undef, clears the handler. Without this one a
failure is a warning that starts with C<EV::Kafka::Conn: >.

A failure first calls C<on_error>, then the callbacks of requests, then
C<on_disconnect>. A broker that closes the connection is no failure.

=head3 on_connect([$cb])

Sets what is called, without arguments, when requests can be sent.

=head3 on_disconnect([$cb])

Sets what is called, without arguments, when the connection is closed.

=head3 on_notice([$cb])

Sets what hears of things that end nothing: C<< $cb->($text, $subject) >>. There are two:
files of certificates or keys that have changed and cannot be used, with the subject
C<tls_files>, and a broker's certificate that was accepted by its common name. Each is told
once, until it changes; undef in the text's place says that its subject is in order again.
Without a callback a text becomes a warning, C<EV::Kafka::Conn: TEXT>.

=head3 on_throttle([$cb])

Sets what hears that the broker throttles this client: C<< $cb->($throttle_time_ms, $api) >> for every answer that says so,
with the name of its API, such as C<Fetch>.

=head3 stats([@others])

What the connection has done since this was called first, also across reconnects; nothing is counted before. With other
connections it is what all of them have done together.

    { requests  => {
          Fetch => { sent => 120, answered => 119, total_ms => 4210.5,
                     round_trip_ms => { p50 => 33.1, p90 => 40.9, p99 => 71.2, max => 104 } },
          ...
      },
      bytes_in  => 812_004, bytes_out => 9_120, bytes_queued => 0,
      in_flight => 1, connects => 1,
      throttled => { answers => 0, ms => 0 } }

C<requests> are by API, without those of the handshake. A round trip begins when the request has been given to the system as a
whole and ends when its answer was read; C<total_ms> are all of them together, the percentiles those of the last one to two
minutes, to within 3 %. Bytes are those on the wire, encrypted where they are. C<connects> counts how often the connection became
ready, C<throttled> the answers that L</on_throttle([$cb])> hears of, and their times.

=head3 client_id($id)

Sets the client identifier, C<ev-kafka> by default.

=head3 strings($strings)

What the keys, values and headers of C<produce>, C<produce_batch>, C<fetch> and C<fetch_multi>
are from now on: C<'bytes'> or C<'utf8'>, see L</BYTES, NOT CHARACTERS>. Undef or no argument is
neither, as at the beginning.

=head3 errors($form)

What C<on_error> and the callbacks of requests get of an error from now on: C<'text'>, or C<'object'>, an
L<EV::Kafka::Error>, whose C<broker> is C<HOST:PORT> here. Undef or no argument is C<'text'>, as at the beginning.

=head3 headers($form)

What the headers of records that C<fetch> and C<fetch_multi> give are from now on: C<'hash'>, or C<'pairs'>, a list of
C<[$name, $value]> in which repeated names and their order are kept. Undef or no argument is C<'hash'>, as at the beginning.

=head3 request_timeout([$seconds])

How long an answer may take: 30 seconds at first, and again without an argument or with
undef; fractions are allowed, 0 means for ever. It counts for the requests that follow,
and comes on top of what a request lets the broker wait: C<max_wait_ms> of a fetch, the
timeout of a produce request (30 s) and of C<create_topics> and C<delete_topics>, the
rebalance timeout of C<join_group>, and for C<sync_group>, whose request has none, 5
minutes. It starts when the request has arrived as far as that is known, and anew while bytes move. Time in which the broker has this connection throttled is left out; a throttle of more than
five minutes counts as five.

An answer that is too late fails its request and, since answers come in order, the
connection with all others: C<on_error> and the callbacks get
C<request timed out: Metadata v12>, with the request that took too long.

=head3 tls($enable, [$ca_file, $skip_verify, $cert_file, $key_file, \%more])

    $conn->tls(1, '/etc/kafka/ca.pem');
    $conn->tls(1, '/etc/kafka/ca.pem', 0, '/etc/kafka/me.pem', '/etc/kafka/me.key');
    $conn->tls(1, { ca_file => '/etc/kafka/ca.pem', cert_file => $pem, key_password => $password });

Turns TLS on or off for connections made from now on. The arguments are those of the
options C<tls_ca_file>, C<tls_skip_verify>, C<tls_cert_file> and C<tls_key_file> of
L</new(%options)>, names of files or PEM texts; undef and the empty string stand for none.
A hash comes last and names arguments: C<ca_file>, C<skip_verify>, C<cert_file>,
C<key_file>, C<key_password> and C<server_name>, each also with C<tls_> before it. The
files are read by this call, and again when they have changed, as those of a client are. It
croaks C<EV::Kafka::Conn: tls: REASON> when one of them cannot be read or used, and then
changes nothing.

What goes wrong with TLS later is an error that starts with C<TLS: >, for example
C<TLS: certificate verify failed: certificate has expired>. That a broker demands a
client certificate shows, with TLS 1.3, only after its handshake.

=head3 sasl($mechanism, [$username, $password])

    $conn->sasl('SCRAM-SHA-512', 'alice', $password);
    $conn->sasl('OAUTHBEARER', sub { my ($done) = @_; ... });
    $conn->sasl('OAUTHBEARER', $token, { logicalCluster => 'lkc-1' });

Sets how to authenticate on connections made from now on; undef as C<$mechanism> turns
it off. Undef and the empty string are the same credentials. C<OAUTHBEARER> takes a
token, or a callback that has tokens, in their place, and may take a hash of extensions
after it, as the option C<sasl> does.

What is wrong with it shows when the connection authenticates, as an error that ends the
connection: C<unsupported SASL mechanism>, C<SCRAM: username required>,
C<SASL handshake failed: mechanism not supported>, C<SASL auth failed: MESSAGE> with the
broker's own message.

=head3 Tokens

    $conn->sasl('OAUTHBEARER', sub {
        my ($done) = @_;
        fetch_token(sub {
            my ($token, $problem) = @_;
            $done->($token, $problem);
        });
    });

A callback for tokens is called at every authentication, the later ones of the same
connection included (KIP-368). It gets one argument, a function, and calls it once, at
once or later: with a token, or with undef and a text that says why there is none. More
calls are ignored, and so is one that comes when the connection has gone. No token, and a
die in the callback, fail the authentication: C<SASL auth failed: no token: REASON>. The
callback has as long as a phase of the handshake may take, see
L</connect($host, $port, [$timeout])>; when the token is for a renewal, until the session
has ended and so long more.

=head3 auto_reconnect($enable, [$delay_ms])

Connects again after a loss: after C<$delay_ms> (1000 by default) first, then after
delays that double up to 30 s, with a quarter of jitter.

=head2 Requests

=head3 metadata(\@topics, $cb, [\%opts])

Describes topics, all of them for undef. Topics that are named are created by brokers
that are set up to do so, but with C<< allow_auto_topic_creation => 0 >> (KIP-204; brokers of
Metadata 4 and up). See L</Metadata result>.

=head3 produce($topic, $partition, $key, $value, [\%opts,] [$cb])

Sends one message. Options: C<acks> (default 1), C<headers> (as in
L</produce($topic, $key, $value, [\%opts,] [$cb, [@args]])>), C<timestamp> (milliseconds,
default now), C<compression>, C<compression_level>. With C<< acks => 0 >> the callback is called before the
method returns, with an empty hash.

=head3 produce_batch($topic, $partition, \@records, [\%opts,] [$cb])

    $conn->produce_batch('topic', 0, [
        { key => 'k1', value => 'v1' },
        { key => 'k2', value => 'v2', headers => { h => 'v' } },
    ], sub { my ($result, $err) = @_; ... });

Sends several messages in one batch. Options: C<acks>, C<compression>,
C<compression_level>, C<producer_id>, C<producer_epoch>, C<base_sequence>.

=head3 fetch($topic, $partition, $offset, [\%opts,] $cb)

    $conn->fetch('topic', 0, 0, sub {
        my ($result, $err) = @_;
        for my $record (@{ $result->{topics}[0]{partitions}[0]{records} }) {
            print "$record->{offset}: $record->{value}\n";
        }
    });

Fetches messages from C<$offset> on. Options: C<max_bytes> (default 1048576),
C<max_wait_ms> (default 500), C<min_bytes> (default 1). See L</Fetch result>.

=head3 fetch_multi(\%topics, [\%opts,] $cb)

    $conn->fetch_multi({
        'topic-a' => [{ partition => 0, offset => 10 }, { partition => 1, offset => 20 }],
        'topic-b' => [{ partition => 0, offset => 0 }],
    }, sub { my ($result, $err) = @_; ... });

The same for several partitions at once.

=head3 list_offsets($topic, $partition, $timestamp, $cb, [\%opts])

Looks up the first offset whose message is not older than C<$timestamp>
(milliseconds): -2 for the earliest offset, -1 for the latest. The result has
C<< topics => [{ topic, partitions => [{ partition, error_code, timestamp, offset }] }] >>,
and C<leader_epoch> where the broker says it. Options: C<< isolation_level => 1 >> for
read_committed, C<leader_epoch>.

=head3 find_coordinator($key, $cb, [$key_type])

Finds the broker that coordinates a group (key type 0, the default) or a
transactional id (1). The result has C<error_code>, C<node_id>, C<host>, C<port>, and
C<error_message> if there is one.

=head3 create_topics(\@topics, $timeout_ms, $cb)

    $conn->create_topics(
        [{ name => 'new-topic', num_partitions => 3, replication_factor => 1 }],
        5000,
        sub { my ($result, $err) = @_; ... },
    );

Creates topics; both numbers are 1 when left out. The broker must be the controller
on old clusters; the others pass it on. The result has
C<< topics => [{ name, error_code, error_message? }] >>.

=head3 delete_topics(\@names, $timeout_ms, $cb)

Deletes topics. The result is like that of C<create_topics>.

=head2 Requests of group members

These go to the group's coordinator, which L</find_coordinator($key, $cb, [$key_type])>
names.

C<$group_instance_id> makes the member a static one (KIP-345). A broker that is too
old for it fails the request.

=head3 join_group($group_id, $member_id, \@topics, $cb, [$session_timeout_ms, $rebalance_timeout_ms, $group_instance_id])

Joins a group, with the protocol C<sticky> and a subscription to the topics. The
member id is empty at first; error 79 (MEMBER_ID_REQUIRED) brings one to join again
with. The timeouts are 30000 and 60000 by default. The coordinator answers when all
members have joined, at the latest after the rebalance timeout; so long the answer may
take.

The result has C<error_code>, C<generation_id>, C<protocol_name>, C<leader>,
C<member_id>, and C<< members => [{ member_id, metadata?, group_instance_id? }] >>,
which is empty for all but the leader.

=head3 sync_group($group_id, $generation_id, $member_id, \@assignments, $cb, [$group_instance_id])

    $conn->sync_group('group', $generation_id, $member_id, [
        { member_id => $one,   assignment => $bytes },
        { member_id => $other, assignment => $bytes },
    ], sub { my ($result, $err) = @_; ... });

Brings the leader's assignments to the coordinator; the others give an empty list, or
undef. The result has C<error_code> and C<assignment>, which is absent if there is
none. The answer comes when the leader's assignments have come, and may take five
minutes.

=head3 heartbeat($group_id, $generation_id, $member_id, $cb, [$group_instance_id])

Tells the coordinator that the member lives. The result has C<error_code>:
27 (REBALANCE_IN_PROGRESS) asks the member to join again.

=head3 leave_group($group_id, $member_id, $cb)

Leaves the group, so that its partitions are given to others at once. The result has
C<error_code>.

=head3 offset_commit($group_id, $generation_id, $member_id, \@offsets, $cb)

    $conn->offset_commit('group', $generation_id, $member_id, [
        { topic => 'topic', partitions => [{ partition => 0, offset => 42 }] },
    ], sub { my ($result, $err) = @_; ... });

Stores positions. A partition may also have C<metadata>, a text to keep beside the
position, and the C<leader_epoch> of the last message read. Without a member,
C<$generation_id> is -1 or undef, and C<$member_id> is empty. The result has
C<< topics => [{ topic, partitions => [{ partition, error_code }] }] >>. An answer that
lacks one of the partitions is an error.

=head3 offset_fetch($group_id, \@topics, [\%opts,] $cb)

    $conn->offset_fetch('group', [{ topic => 'topic', partitions => [0, 1] }],
        sub { my ($result, $err) = @_; ... });

Reads stored positions. The result has C<error_code> (not before version 2) and
C<< topics => [{ topic, partitions => [{ partition, offset, error_code, metadata?, leader_epoch }] }] >>;
the offset is -1 where none is stored. With the option C<require_stable> a partition
whose position belongs to a transaction that has not ended gets error 88
(UNSTABLE_OFFSET_COMMIT); this needs OffsetFetch version 7.

=head2 Requests of producers with an id

These go to the transaction coordinator, which C<find_coordinator> names for key type
1; without transactions C<init_producer_id> may go to any broker.

=head3 init_producer_id($transactional_id, $txn_timeout_ms, $cb, [$producer_id, $epoch])

Asks for a producer id: with undef in the first place one for an idempotent producer,
else one for transactions, which ends what an earlier producer of the same
transactional id left open. Given its current id and epoch, a producer gets its next
epoch (version 3 and up). The result has C<error_code>, C<producer_id> and
C<producer_epoch>.

=head3 add_partitions_to_txn($txn_id, $producer_id, $epoch, \@topics, $cb)

    $conn->add_partitions_to_txn('txn', $producer_id, $epoch,
        [{ topic => 'topic', partitions => [0, 1] }],
        sub { my ($result, $err) = @_; ... });

Makes partitions part of the transaction. The result has
C<< topics => [{ topic, partitions => [{ partition, error_code }] }] >>.

=head3 add_offsets_to_txn($txn_id, $producer_id, $epoch, $group_id, $cb)

Makes the positions of a group part of the transaction; C<txn_offset_commit> then
stores them. The result has C<error_code>.

=head3 txn_offset_commit($txn_id, $group_id, $producer_id, $epoch, $generation, $member_id, \@offsets, $cb, [$group_instance_id, $transaction_version])

Stores positions as part of the transaction; goes to the group's coordinator. Offsets
and result are those of C<offset_commit>. Generation, member and instance are not sent
below version 3; undef stands for a producer that is no member.

=head3 end_txn($txn_id, $producer_id, $epoch, $committed, $cb, [$transaction_version])

Commits the transaction if C<$committed> is true, else aborts it. The result has
C<error_code>.

The transaction version is 1 unless it is given. With 2 (KIP-890, where the cluster's
feature C<transaction.version> is 2), here, in C<txn_offset_commit>, and as the option
C<transaction_version> of C<produce> and C<produce_batch>, what is written is part of
the transaction without C<add_partitions_to_txn> and C<add_offsets_to_txn>, and the
result of C<end_txn> has the C<producer_id> and C<producer_epoch> to go on with, whose
sequence numbers begin with 0.

=head1 UTILITY FUNCTIONS

=head2 EV::Kafka::_murmur2($key)

The hash that chooses a key's partition: murmur2 as Java's client computes it, without
the sign, 31 bits.

=head2 EV::Kafka::_crc32c($data)

The checksum of batches, CRC-32C (Castagnoli).

=head2 EV::Kafka::_error_name($code)

As L</error_name($code)>.

=head1 RESULT STRUCTURES

Results may have more keys than these.

=head2 Produce result

    {
        topics => [{
            topic      => 'name',
            partitions => [{ partition => 0, error_code => 0, base_offset => 42 }],
        }],
    }

=head2 Fetch result

    {
        topics => [{
            topic      => 'name',
            partitions => [{
                partition      => 0,
                error_code     => 0,
                high_watermark => 100,
                records        => [{
                    offset    => 42,
                    timestamp => 1712345678000,
                    key       => 'key',             # or undef
                    value     => 'value',           # or undef
                    headers   => { h => 'v' },      # if there are any
                }],
            }],
        }],
    }

Of one answer at most so many records are given as need about 512 MiB of memory, the hashes
and strings together; those that follow come with the next fetch.

=head2 Metadata result

    {
        controller_id => 0,
        brokers       => [{ node_id => 0, host => '10.0.0.1', port => 9092 }],
        topics        => [{
            name       => 'topic',
            error_code => 0,
            partitions => [{ partition => 0, leader => 0, error_code => 0 }],
        }],
    }

=head1 ERROR HANDLING

An operation that has a callback gets its errors there, and only there. Whatever
has none, and whatever concerns no single operation, goes to C<on_error>.

Errors are texts for people, or with C<< errors => 'object' >> objects that a program can act on:

    my $kafka = EV::Kafka->new(
        brokers  => $brokers,
        errors   => 'object',
        on_error => sub {
            my ($error) = @_;
            warn "kafka: $error\n";
            EV::break if $error->fatal;
        },
    );
    $kafka->produce(orders => $key, $value, sub {
        my ($result, $error) = @_;
        retry_later($key, $value) if $error && $error->retriable;
    });

L<EV::Kafka::Error> says what they know, and L<EV::Kafka::Errors> what each text means, and what to do.

Inside results, C<error_code> is one of Kafka's numbers. Those that programs meet
most:

     0  no error
     1  OFFSET_OUT_OF_RANGE              poll: the position moves to the earliest offset
     2  CORRUPT_MESSAGE
     3  UNKNOWN_TOPIC_OR_PARTITION       produce: tried again
     6  NOT_LEADER_OR_FOLLOWER           tried again, at the new leader
     7  REQUEST_TIMED_OUT                produce: tried again
    10  MESSAGE_TOO_LARGE
    15  COORDINATOR_NOT_AVAILABLE        tried again
    16  NOT_COORDINATOR                  tried again
    19  NOT_ENOUGH_REPLICAS              produce: tried again
    22  ILLEGAL_GENERATION               group: joins again
    25  UNKNOWN_MEMBER_ID                group: joins again
    27  REBALANCE_IN_PROGRESS            group: joins again
    29  TOPIC_AUTHORIZATION_FAILED
    36  TOPIC_ALREADY_EXISTS
    45  OUT_OF_ORDER_SEQUENCE_NUMBER     idempotent producer: a new epoch
    46  DUPLICATE_SEQUENCE_NUMBER        idempotent producer: delivered before
    79  MEMBER_ID_REQUIRED               group: joins again with the id it was given

L</error_name($code)> knows all of them.

=head2 What is tried again

A batch that a broker refuses for a reason that may pass is sent again, after fresh
metadata and a delay that grows from 0.1 s to 1 s, until C<delivery_timeout>. Any other
refusal reaches the callbacks at once. A batch that the broker finds too large is split in
two, as often as need be; only a single message that is too large fails.

A batch whose connection was lost before the broker answered is not sent again: it may
have been written, and only the program knows whether twice is better than not at
all. Its callbacks get C<(undef, 'connection closed by broker')>, or the reason.
Batches that had not been sent wait until their leader is back or another broker has
taken over. So do those that the broker cannot have read: that were not written as a whole
when the connection ended, or that its end kept from being written.

With C<< acks => 0 >> a broker says nothing, and closes the connection when it refuses
something, mostly because another broker leads the partition by now. So a connection that
is closed within 30 s of the last message sent on it makes the client look for the leader
and wait a little before it connects there again; C<on_notice> is told, once. What was sent
until then is lost.

Several batches of one partition may be under way at once. When one of them is refused
and sent again, those behind it may be written before it.

=head2 Idempotence

With the option C<idempotent> the messages of a partition are numbered (KIP-98). A batch
whose connection was lost is sent again, too: the broker knows whether it has it. Up to five
batches of a partition are under way at a time, and none of them is written before
those in front of it.

When the broker has lost count (45, 47 or 59), or a batch failed for good and left a
gap, the client asks for a new producer id. What is certain not to be in the log is
numbered anew under that; what is not certain is asked about under the old one first. A batch
for which that happens twice fails.

If no producer id is to be had, the callback of C<connect> and C<on_error> get a text that
contains C<InitProducerId>, and messages fail with C<idempotent producer unavailable: ...>
until C<connect> is called again.

=head2 Lost brokers

A broker that is lost while requests are under way to it, or that cannot be reached again
when something is to be sent, is reported to C<on_error> once, with a text that
contains C<lost>, however often reconnecting fails. One that was never reached is reported
as such, with the address that the cluster gives for it: C<advertised.listeners> there may name one that
is none in the program's network. Either is connected to with growing
delays of up to a second. Brokers close connections that were idle for some minutes;
that is not a loss and is not reported. When no broker of the cluster answers, the
bootstrap list is tried again.

=head1 WHY DOES IT WAIT

What waits for more than three seconds says why by C<on_notice>, or by a warning if there is none: once for each
reason, and again when the reason changes, or what was over begins anew. C<on_error> hears nothing of that. Some
things are told at once. These are the texts, and what to do:

=over 4

=item connect was not called

Call C<connect>: until then messages, polls and subscriptions wait.

=item topic 'orders' is not known to the cluster (did you mean ...?)

Create the topic, or correct its name. TOPIC_AUTHORIZATION_FAILED in its place: the client may not see it.

=item topic 'orders' has no partition 9, only 0 to 2

Told at once of messages that were produced for it. They fail if the partition does not come.

=item orders:0 has no leader now

All brokers with a replica of it are down, or an election is under way.

=item ... is assigned, and poll was not called

C<assign> alone fetches nothing: call C<consume> once, or C<poll> again and again.

=item records have nowhere to go

There is neither C<on_message> nor C<on_batch>. Told at once.

=item FindCoordinator for group 'g': COORDINATOR_NOT_AVAILABLE

If that lasts, the cluster cannot make the topic in which coordinators keep their records: with fewer brokers than
C<offsets.topic.replication.factor>, or C<transaction.state.log.replication.factor>, it never will.

=item group 'g': JoinGroup is not answered

The group waits for its other members, each of which has its C<rebalance_timeout> to finish its work.

=item group 'g' has given this member up: ... the event loop did not turn for 9.0 s

A callback took longer than C<session_timeout>: let it do less at once, or set that higher. Told at once, as are those
that follow.

=item orders:0 has no offset 5 any more, retention may have removed it: consuming goes on at 20

What lies between is lost to this consumer: it is behind for longer than the topic keeps its records.

=item close: 3 messages that were not delivered and had no callback

Wait for the callback of C<flush> before C<close>, or before the client goes out of scope.

=item AnyEvent runs on AnyEvent::Impl::Perl

See L</ANYEVENT>.

=back

=head1 LOGS

What a client does can be watched in two ways, by the option C<log> or by the environment variable C<EV_KAFKA_DEBUG>. With
neither nothing is made of it.

    my $kafka = EV::Kafka->new(log => sub {
        my ($level, $text, $fields) = @_;
        print STDERR "$fields->{room} $level: $text\n" if $level ne 'debug';
    });

The level is C<error>, C<warning>, C<info> or C<debug>, the text one line for a person, and C<room> says where it happened:

    client    what on_error hears, as errors, and on_notice, as warnings
    conn      connections: made, lost, tried again, throttled
    cluster   brokers, leaders and coordinators; who is asked for metadata
    fetch     partitions and Fetch requests that brokers refuse
    group     what becomes of a member; what it is assigned and gives up; refused requests
    producer  batches that no broker has taken, and when the next try is; the producer id
    txn       the beginning and the end of transactions

Fields beside C<room> are what is known of C<broker>, C<purpose> (of a connection), C<topic>, C<partition>, C<offset>,
C<code>, C<group_id>, C<member_id> and C<generation>. Nothing is logged for each message, request or batch that is as it should
be; for these there is L</stats>.

C<EV_KAFKA_DEBUG> names rooms, or C<all>, when the client is made, and the same comes as lines on STDERR:

    $ EV_KAFKA_DEBUG=conn,group perl worker.pl
    14:05:11.048 ev-kafka conn info: broker 1 (10.0.0.1:9092), group: connected
    14:05:11.061 ev-kafka group info: group 'workers', generation 4: assigned jobs:0, jobs:2
    14:05:11.063 ev-kafka group info: group 'workers', generation 4: stable
    14:07:40.512 ev-kafka conn warning: broker 1 (10.0.0.1:9092), fetch: connection ended: closed by broker
    14:07:40.512 ev-kafka conn debug: broker 1 (10.0.0.1:9092), fetch: next try in 0.11 s

=head1 ENVIRONMENT VARIABLES

The module itself looks at C<EV_KAFKA_DEBUG> (L</LOGS>). Tests, examples and benchmarks look at these:

    TEST_KAFKA_BROKER    broker for tests against a real one, host:port
    KAFKA_BROKER         broker for examples and script/demo, host:port
    KAFKA_HOST           broker's host for examples of EV::Kafka::Conn
    KAFKA_PORT           broker's port for those
    KAFKA_TOPIC          topic for examples
    KAFKA_GROUP_ID       consumer group for examples
    KAFKA_LIMIT          how many messages the example consumer reads
    KAFKA_METRICS_PORT   port of the example that serves metrics
    KAFKA_COUNT          how many messages the fire-and-forget example sends, and how many
                         times the reconnecting one asks
    KAFKA_INTERVAL       seconds between these times
    KAFKA_PATIENCE       seconds after which that example gives up
    BENCH_BROKER         broker for benchmarks, host:port
    BENCH_MESSAGES       how many messages benchmarks send
    BENCH_VALUE_SIZE     bytes of a value in benchmarks
    BENCH_TOPIC          topic for benchmarks

=head1 QUICK START

A producer and a consumer in one program:

    use strict;
    use warnings;
    use EV;
    use EV::Kafka;

    my $kafka = EV::Kafka->new(
        brokers    => '127.0.0.1:9092',
        acks       => 1,
        on_error   => sub { warn "kafka: $_[0]\n" },
        on_message => sub {
            my ($topic, $partition, $offset, $key, $value) = @_;
            print "got $key = $value\n";
        },
    );

    $kafka->connect(sub {
        $kafka->produce('test', 'k1', 'hello', { partition => 0 }, sub {
            my (undef, $err) = @_;
            return warn "not produced: $err\n" if $err;
            $kafka->assign([{ topic => 'test', partition => 0, offset => -2 }]);
            $kafka->consume;
        });
    });

    EV::run;

As a member of a group, which shares the partitions of its topics and remembers how far it
has come, a consumer needs neither C<assign> nor C<consume>:

    $kafka->connect(sub {
        $kafka->subscribe('test', group_id => 'readers', auto_commit_interval => 5);
    });

Without a broker at hand, L<EV::Kafka::Mock> is one inside the program, for this and
for tests:

    my $mock  = EV::Kafka::Mock->new;
    my $kafka = EV::Kafka->new(brokers => $mock->bootstrap, ...);

=head1 COOKBOOK

=head2 JSON with headers

    use JSON::PP;
    my $json = JSON::PP->new->utf8;

    $kafka->produce('events', 'user-42',
        $json->encode({ action => 'click', page => '/home' }),
        { headers => { 'content-type' => 'application/json' } },
        sub { ... },
    );

=head2 Consume only what is new

    $kafka->assign([{ topic => 'live-feed', partition => 0, offset => -1 }]);
    $kafka->consume;

With a group:

    $kafka->subscribe('live-feed',
        group_id             => 'realtime',
        auto_offset_reset    => 'latest',
        auto_commit_interval => 5,
        on_assign            => sub { print "ready\n" },
    );

=head2 Consume all partitions of a topic from the beginning

    $kafka->offsets_for('events', sub {
        my ($offsets, $err) = @_;
        $kafka->assign([map {
            { topic => 'events', partition => $_, offset => $offsets->{$_}{earliest} }
        } keys %$offsets]);
        $kafka->consume;
    });

=head2 Stop in an orderly way

    my $int = EV::signal INT => sub {
        $kafka->flush(sub { $kafka->close(sub { EV::break }) });
    };

and of a group's member:

    $kafka->commit(sub {
        $kafka->unsubscribe(sub { $kafka->close(sub { EV::break }) });
    });

=head2 Process at least once

    $kafka->subscribe('jobs', group_id => 'workers', auto_commit => 0);

with these among the options of C<new>:

    on_message_die => 'hold',    # what process dies of is not passed over
    on_message => sub {
        process($_[4]);
        $kafka->commit if ++$count % 100 == 0;
    },
    on_notice => sub {
        my ($text, $about) = @_;
        warn "$text\n";
        return unless defined $about->{error};
        my $held = { topic => $about->{topic}, partition => $about->{partition} };
        $retry{"$held->{topic}:$held->{partition}"} = EV::timer 5, 0, sub { $kafka->resume([$held]) };
    },

A message that can never be processed would hold its partition for ever: after some tries
put it aside, and C<seek> to the offset behind it.

=head2 Produce many at once

    $kafka->produce_many([map { ['events', "k$_", "v$_"] } 1 .. 1000], sub {
        my ($errors) = @_;
        print $errors ? "some failed\n" : "all done\n";
    });

=head2 Produce without flooding memory

    my ($next, $outstanding) = (0, 0);
    my $fill;
    my $delivered = sub { $outstanding--; $fill->() };
    $fill = sub {
        while ($outstanding < 1000 && $next < 1_000_000) {
            $outstanding++;
            $kafka->produce('events', undef, 'message ' . $next++, $delivered);
        }
    };
    $kafka->connect($fill);

=head2 Process exactly once

    my $kafka = EV::Kafka->new(
        transactional_id => 'my-app',
        isolation_level  => 'read_committed',
        on_message       => sub {
            my ($topic, $partition, $offset, $key, $value) = @_;
            $kafka->produce('output', $key, process($value));
        },
        ...
    );

    my $step;
    $step = sub {
        $kafka->begin_transaction;
        $kafka->poll(sub {
            $kafka->send_offsets_to_transaction('my-group', sub {
                $kafka->commit_transaction(sub {
                    my (undef, $error) = @_;
                    return $step->() unless defined $error;
                    $kafka->abort_transaction($step);
                });
            });
        });
    };

A program that starts again continues from the positions that the group has committed;
F<eg/eos.pl> is such a program, complete.

=head2 A cluster that wants TLS and a password

    my $kafka = EV::Kafka->new(
        brokers     => 'kafka-1.example:9093,kafka-2.example:9093',
        tls         => 1,
        tls_ca_file => '/etc/kafka/ca.pem',
        sasl        => { mechanism => 'SCRAM-SHA-512', username => 'alice', password => $ENV{KAFKA_PASSWORD} },
        on_error    => sub { warn "kafka: $_[0]\n" },
    );

=head2 Create a topic

    my $conn = EV::Kafka::Conn->new;
    $conn->on_connect(sub {
        $conn->create_topics(
            [{ name => 'new-topic', num_partitions => 6, replication_factor => 3 }],
            10_000,
            sub { my ($result, $err) = @_; ... },
        );
    });
    $conn->connect('127.0.0.1', 9092);

=head1 PROCESSES THAT FORK

Two processes that write into one connection break it for both, and two that share a
producer id overwrite each other's messages. So a client, and an C<EV::Kafka::Conn>,
belongs to one process: to the one that first connects it. Servers that fork their
workers, such as Starman, Hypnotoad or whatever calls C<fork> itself, may make the
client before, and connect it in each worker:

    my $kafka = EV::Kafka->new(brokers => $brokers, on_error => sub { ... });

    for my $number (1 .. $workers) {
        my $pid = fork // die "fork: $!";
        next if $pid;
        $kafka->connect(sub { serve($number) });    # a connection of the worker's own
        EV::run;
        exit;
    }

What was produced before C<connect> is queued in both processes, and each that connects
sends it: produce after C<fork>.

A client that was connected before C<fork> is not to be used in the child. There every
method croaks C<EV::Kafka: the client belongs to the process that connected it, not to a
child of fork>, but C<close>, which closes the child's copies of the sockets and sends
nothing; of a connection, all but C<disconnect>. The child calls no callback
of the parent's, timers of the client do nothing there, and when the child drops the
client or ends, the parent does not notice. A child that needs Kafka makes a client
of its own.

A child that is to live for long should C<close> the parent's client, so that connections
end when the parent closes them. One that forks in a callback of the client may return
from it: what would be called next is called in the parent only.

EV tells its default loop of a fork by itself. On a loop of the program's own the child
calls C<< $loop->loop_fork >> before it uses the loop (L<EV>).

=head1 BENCHMARKS

F<bench/benchmark.pl> prints messages and megabytes a second and the client's CPU time
for each message: pipelined, by what is called back, by the size of values, by codec, with many
partitions, over TLS, idempotent, fire-and-forget, sequential, and consumed, and for metadata
requests; beside a C program on the newest librdkafka and a Go program on franz-go in the
same run, against a broker of your own or one that it starts. It writes JSON, and draws
it. F<bench/latency.pl> prints how long round trips take. Figures from another machine
would tell little; run them:

    perl bench/benchmark.pl
    perl bench/benchmark.pl --json figures.json --svg figures.svg produce consume
    perl bench/latency.pl

F<bench/latency.pl> sends one message after the other on an C<EV::Kafka::Conn>, each when
the one before it was answered, and as many with a bare socket that sends the same
bytes. It prints the least, the average and the most time of a round trip, its median,
its percentiles 90, 95 and 99, and how much more the connection takes than the socket.

C<BENCH_BROKER>, C<BENCH_MESSAGES>, C<BENCH_VALUE_SIZE> and C<BENCH_TOPIC> set what
they do; C<--help> says what else does.

What to expect in kind: C<produce> costs least without a callback, little more with
one that all messages share, and most with a new closure each time. Larger batches
(C<linger_ms>, C<batch_size>) cost less. With C<< acks => 0 >> no answers are waited
for. A consumer that uses C<consume>, or polls from the callback of the last poll, is faster than
one that polls by a timer.

=head1 KAFKA PROTOCOL

Every request and answer is four bytes of length and a message, with integers in
big-endian order. A request carries the number of the API, its version, a correlation
id and the client id; the answer repeats the correlation id. Brokers answer the
requests of a connection in order, so the oldest unanswered request is the one that an
answer must belong to; a different correlation id ends the connection.

A connection starts with ApiVersions, which says what the broker speaks: a client's with version 4, or 5 where the broker
before knew that, which tells the broker who asks (KIP-511) and whom it is taken for (KIP-1242), and with version 0 where the
broker wants that; one of EV::Kafka::Conn with version 0. SASL follows, by SaslHandshake and SaslAuthenticate (before
Kafka 1.0 by bare messages in the place of the latter). Each request then uses the newest version that both sides know.
Flexible versions (compact lengths and tagged fields) are among them.

Where brokers know topics by ids (KIP-516), Fetch, Produce, OffsetCommit and OffsetFetch of a client name them so. A topic that
was deleted and created anew is another one: positions in the old one are not used, nor committed for the new one, and
C<auto_offset_reset> says where consuming goes on. What is produced goes to the topic that has the name. Below Kafka 3.1 only
metadata tell, so that a Fetch that leaves before them reads the new topic at the old position.

Messages travel in record batches of format 2: one header, with a CRC-32C of everything
after it, and records that hold lengths and differences as zig-zag varints. Batches that
do not verify are never delivered, not even in part.

A broker that says it is throttling is left alone for as long as it says (KIP-219).

=head1 LIMITATIONS

=over 4

=item *

SASL is PLAIN, SCRAM and OAUTHBEARER; there is no GSSAPI.

=item *

A batch whose connection is lost before it is answered is not sent again, see L</What
is tried again>. While a refused batch waits for its next try, younger ones of its
partition wait too; those that were under way already may pass it.

=item *

The old message formats 0 and 1 (before Kafka 0.11), which lie in old logs and are written where
C<log.message.format.version> says so, are read. They are never written: a broker turns what it is sent into them.

=item *

After C<seek>, what L</poll([$cb])> has asked for before is still delivered, also when C<seek>
was called from within C<on_message>.

=item *

A client belongs to one process, see L</PROCESSES THAT FORK>, and to the interpreter that
created it: in other threads its methods croak C<EV::Kafka: the client belongs to another
thread>. EV's watchers and loops are not copied into new threads.

=back

=head1 SEE ALSO

L<EV::Kafka::Manual>: the same by task, page by page.

L<EV::Kafka::Mock>, L<EV::Kafka::Promises>, L<EV>, L<AnyEvent>

=head1 LICENSE

This library is free software; you can redistribute it and/or modify it under the same
terms as Perl itself.

=cut
