package EV::Kafka::Producer;
use strict;
use warnings;

use Carp         ();
use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Partitions;
use EV::Kafka::Producer::Buffer;
use EV::Kafka::Producer::Expiry;
use EV::Kafka::Producer::Flush;
use EV::Kafka::Producer::Identity;
use EV::Kafka::Producer::Message;
use EV::Kafka::Producer::Parked;
use EV::Kafka::Producer::Settings;
use EV::Kafka::Strings;

# What becomes of a message from produce to its delivery callback. Its state lies in its parts:
#   accumulator  native: messages in batches, and those that wait for their topic
#   settings     options as batches go by them
#   identity     producer id and epoch
#   expiry       when what waits has waited for too long
#   buffer       how much is queued
#   parked       topics that messages wait for
#   flush        who waits for all of it
# Published are {_linger_active} and {_linger_timer} of the options, for the record that has to
# linger first. Of its own it has
#   encoder      the option strings
#   rules        what the transaction, which is above, has told; see rules
#   delivers     whether the outbox will have what is settled delivered
#   resting      timer: they go on when the loop has turned
#   retrying     timer: a batch that was refused may leave again

# Milliseconds a broker may take at most to have a Produce request replicated, unless the option
# broker_timeout says otherwise, and no longer than request_timeout: a broker that says nothing
# costs that time once.
use constant PRODUCE_TIMEOUT_MS => 30_000;

# Seconds for an answer, unless the option request_timeout says otherwise.
use constant REQUEST_TIMEOUT => 30;

# What a warning about a delivery callback that died begins with.
use constant DELIVERY => 'produce callback';

# A croak names the line of the program.
$Carp::Internal{ +__PACKAGE__ } = 1;

# tells: identified, identity_failed($error, $had_one), failed($error) when there is no identity and
# none is asked for, epoch_needed, transaction_failed($harm, $error, $number) where $harm is abort, new
# epoch (an abort, and another epoch after it) or fatal, and $number undef for the open one, and
# progress when something was settled or may leave.
sub new {
    my ($class, %about) = @_;
    my $options = $about{options};
    my $self    = bless { map({ $_ => $about{$_} } qw(loop outbox options cluster tells)), rules => {} }, $class;
    @$options{qw(_linger_active _linger_timer)} = (0, undef);
    $self->{encoder}     = EV::Kafka::Strings->new($options->{strings}) if defined $options->{strings};
    $self->{accumulator} = EV::Kafka::Accumulator->new({
        (map { ($_ => $options->{$_}) } qw(batch_size batch_limit max_request_size delivery_timeout idempotent
            transactional_id buffer_memory strings errors)),
        loop       => $options->{loop},
        _timeouts($options),
    });
    my %ground = (map({ $_ => $about{$_} } qw(loop outbox options cluster coordinators)), map({ $_ => $self->{$_} } qw(accumulator rules)));
    my $part   = sub {
        my ($name, %below) = @_;
        return $self->{ lc $name } = "EV::Kafka::Producer::$name"->new(%ground, %below, notify => $self->{outbox}->listener($self, lc $name));
    };
    $ground{settings} = $part->('Settings');
    $part->($_) for qw(Identity Expiry Buffer Parked Flush);
    weaken(my $weak = $self);
    $self->{accumulator}->listen(\$weak);
    $self->{settings}->apply;
    return $self;
}

# --- the program ----------------------------------------------------------------------

# Everything that the native produce does not do itself comes here: topics that are not known,
# acknowledgements of a message's own, strings that have to be encoded.
sub produce {
    my ($self, @arguments) = @_;
    return $self->_take(EV::Kafka::Producer::Message->of_arguments($self->{encoder}, @arguments));
}

# Of the message with these arguments the partitioner, asked natively, has said this.
sub produce_placed {
    my ($self, $partition, @arguments) = @_;
    my $message = EV::Kafka::Producer::Message->of_arguments($self->{encoder}, @arguments);
    $message->{partition} = $self->{settings}->chosen($message->{topic}, $partition);
    # There were none when the partitioner was asked.
    delete $message->{acks};
    return $self->_append($message);
}

sub produce_many {
    my ($self, $elements, $cb, @with) = @_;
    ($elements, $cb) = ($cb, $elements) if ref $cb eq 'ARRAY' && ref $elements ne 'ARRAY';
    Carp::croak('produce_many: expected arrayref of messages') unless ref $elements eq 'ARRAY';
    Carp::croak('produce_many: callback must be a code reference')
        if defined $cb && !EV::Kafka::Producer::Message::is_code($cb);
    # All are looked at before the first is produced: a croak sends nothing.
    my @messages = map { EV::Kafka::Producer::Message->of_element($self->{encoder}, $_) } @$elements;
    my $is_usual = $self->{settings}->is_acknowledged;
    my @is_heard = map { ref $_ eq 'ARRAY' ? $is_usual : $self->{settings}->is_acknowledged($_->{acks}) } @messages;
    my $heard    = grep { $_ } @is_heard;
    my $delivered = [\&_one_of_many, { left => $heard, errors => [], cb => $cb, with => \@with }];
    for my $place (0 .. $#messages) {
        my ($message, $heard_by) = ($messages[$place], $is_heard[$place] ? $delivered : undef);
        next if ref $message eq 'ARRAY' && $self->{accumulator}->take(@$message, $heard_by);
        $self->_take_one_of_many($message, $heard_by);
    }
    # Nobody waits for a message with acks 0.
    return $heard ? undef : $self->{outbox}->call($cb, undef, @with);
}

# Of messages that were produced together one is settled.
sub _one_of_many {
    my (undef, $error, $many) = @_;
    push @{ $many->{errors} }, $error if defined $error;
    return if --$many->{left};
    my ($cb, $errors) = @$many{qw(cb errors)};
    $cb->(@$errors ? $errors : undef, @{ $many->{with} }) if $cb;
    return;
}

# Waits for what was produced before it, and for nothing that comes after.
sub flush {
    my ($self, $cb) = @_;
    return unless $self->{flush}->add($cb);
    $self->_watch;
    $self->flush_all;
    return $self->_progress;
}

# What no broker was sent, or has refused for now, is given up. Gives how many messages that were.
sub purge {
    my ($self, @arguments) = @_;
    Carp::croak('purge: takes no arguments') if @arguments;
    my $error = EV::Kafka::Error->without_code('purged before it was delivered')->at(operation => 'Produce');
    my ($messages, $transactional) = $self->{accumulator}->fail_waiting($error);
    $self->settled;
    $self->{tells}->(transaction_failed => 'new epoch', $error) if $transactional;
    # A partition may go on that has waited for these.
    $self->send_ready if $messages;
    return $messages;
}

# Messages and bytes that were accepted and are neither delivered nor failed.
sub buffered { return $_[0]{buffer}->queued }

sub on_drain {
    my ($self, $cb) = @_;
    $self->{options}{on_drain} = $cb;
    return;
}

# --- statistics ----------------------------------------------------------------------------

sub count { return $_[0]{accumulator}->count }

# Its own, and those of partitions.
sub stats {
    my ($self) = @_;
    my ($messages, $bytes)   = $self->buffered;
    my ($producer_id, $epoch) = $self->identity;
    my %own = (messages => $messages, bytes => $bytes, buffer_memory => $self->{options}{buffer_memory},
        is_full => $self->{buffer}->is_full, producer_id => $producer_id, producer_epoch => $epoch);
    return (\%own, $self->{accumulator}->stats);
}

# For the client, whose native produce puts messages there.
sub accumulator { return $_[0]{accumulator} }

# --- what native code tells ---------------------------------------------------------------

# The first record has to linger. After the linger time the batches are due: they take records
# until a request takes them along.
sub linger_begin { my ($self) = @_; return $self->{outbox}->enter($self, '_linger_begin') }

sub _linger_begin {
    my ($self) = @_;
    my $options = $self->{options};
    return if $options->{_linger_active};
    $self->{settings}->apply;
    $self->{expiry}->watch;
    return $self->{accumulator}->end_with_turn unless $options->{linger_ms} > 0;
    $options->{_linger_active} = 1;
    $options->{_linger_timer}  = $self->{loop}->timer($options->{linger_ms} / 1000, $self, 'flush_all');
    return;
}

# Options are others than when they were applied.
sub options_changed { my ($self) = @_; return $self->{outbox}->enter($self->{settings}, 'apply') }

# The coordinator has to know of partitions before more can leave.
sub must_register { my ($self) = @_; return $self->{outbox}->enter($self, '_may_leave') }

# Batches for the broker, and no connection that they may be put on: there is one now, or will be.
sub send_to {
    my ($self, $node_id) = @_;
    return $self->{outbox}->enter($self, _serve => $node_id);
}

# Whether something waits for a partition to have a leader; told as long as it is so, and once
# when it is over.
sub leaderless {
    my ($self, $is_so) = @_;
    $self->{outbox}->watch($self, 'waits_for_leaders') if $is_so;
    return $self->{outbox}->enter($self->{cluster}, $is_so ? 'find_leaders' : 'leaders_found');
}

# See EV::Kafka::Waits: one word for each topic.
sub waits_for_leaders {
    my ($self) = @_;
    my %of;
    push @{ $of{ $_->[0] } }, $_->[1] for $self->{accumulator}->leaderless;
    return map { $self->_wait_for_leader($_, @{ $of{$_} }) } sort keys %of;
}

sub _wait_for_leader {
    my ($self, $topic, $partition, @others) = @_;
    my ($reason, $text) = $self->{cluster}->trouble($topic, $partition) or return;
    # Of partitions that are not there the messages that wait for them tell.
    return if $reason eq 'beyond';
    $text .= '; messages wait for it' . (@others ? ', and for ' . @others . ' more of its partitions' : '');
    return { subject => "topic $topic", reason => $reason, text => $text, about => { topic => $topic, partition => $partition } };
}

# A request has ended, and its batches have been settled or put back. This is what is left to do
# about those that no broker has taken:
#   is_lost      the end of a connection has taken requests with it
#   refresh      topics that may have other leaders by now
#   retry_after  seconds until a batch that waits for its next try may leave
#   reports      errors that nobody else hears of
#   harm         to the open transaction, and harm_error that has done it
#   failed       each of the batches: { topic, partition, error_code, records }
sub answered {
    my ($self, $node_id, $news) = @_;
    return $self->{outbox}->enter($self, _answered => $node_id, $news);
}

# Batches have been settled, and their callbacks are not called yet.
sub settled {
    my ($self) = @_;
    return if $self->{delivers};
    $self->{delivers} = 1;
    return $self->{outbox}->call_through($self, '_deliver');
}

# Delivery callbacks have taken long enough for one turn of the loop.
sub rest {
    my ($self) = @_;
    $self->{resting} = $self->{loop}->timer(0, $self, '_deliver_on');
    return;
}

# Something was settled that somebody waits for, and its callbacks have been called.
sub progress { my ($self) = @_; return $self->{outbox}->enter($self, '_progress') }

# --- what the cluster tells ----------------------------------------------------------------

sub route { my ($self, @topic) = @_; return $self->{accumulator}->route(@topic) }

sub metadata_changed {
    my ($self) = @_;
    if   ($self->{flush}->is_waited_for) { $self->flush_all }
    else                                 { $self->send_ready }
    return $self->_progress;
}

# Whether batches wait for a connection to the broker.
sub needs_broker {
    my ($self, $node_id) = @_;
    return scalar grep { $_ == $node_id } $self->{accumulator}->ready_nodes;
}

# --- what may be asked, and what is above --------------------------------------------------

# Whatever can leave does.
sub send_ready {
    my ($self) = @_;
    return unless $self->{cluster}->is_connected;
    return $self->{accumulator}->send_ready;
}

# Nothing lingers any more.
sub flush_all {
    my ($self) = @_;
    @{ $self->{options} }{qw(_linger_active _linger_timer)} = (0, undef);
    $self->{settings}->apply;
    $self->{accumulator}->batches_due;
    return $self->send_ready;
}

# Whether batches may leave, and whether they will in a moment.
sub has_identity { return $_[0]{identity}->is_there }
sub is_ready     { return $_[0]{identity}->is_ready }
sub identity     { return $_[0]{identity}->id_and_epoch }

# Whether some partition waits for a new identity.
sub needs_identity { return $_[0]{accumulator}->needs_identity }

sub renew {
    my ($self) = @_;
    my $ended = $self->{identity}->ended;
    return $self->{tells}->(failed => $ended) if defined $ended;
    return $self->{tells}->('epoch_needed') if $self->{rules}{must_end} && !$self->{identity}->is_asking;
    return $self->{identity}->renew;
}

# The coordinator has given the next identity with the end of a transaction, if it has. Whether it has.
sub adopt {
    my ($self, @identity) = @_;
    return 0 unless $self->{identity}->adopt(@identity);
    $self->_use_identity;
    return 1;
}

# There will never be an identity again.
sub fail {
    my ($self, $error) = @_;
    $self->{identity}->end($error);
    return $self->_unidentified($error);
}

# What the transaction has to say, whenever it is something else:
#   refusal      what is produced is refused with this error
#   transaction  the number of the one that is open
#   joined       what is produced now becomes part of it, and it fails when that is refused
#   must_end     a new identity would fence the transaction: epoch_needed is told instead
sub rules {
    my ($self, %rules) = @_;
    %{ $self->{rules} } = %rules;
    return $self->_divert;
}

# Of which no record is sent again once it is aborted.
sub begin_transaction { return $_[0]{accumulator}->begin_transaction }
sub keep_for_next     { return $_[0]{accumulator}->keep_for_next_transaction }
sub abort_transaction { return $_[0]{accumulator}->abort_transaction }
sub end_transaction   { return $_[0]{accumulator}->end_transaction }
sub leave_transaction { return $_[0]{accumulator}->leave_transaction }

# What leaves is part of a transaction of this version.
sub transaction_version { my ($self, $version) = @_; return $self->{accumulator}->transaction_version($version) }

# [$topic, $partition] of each that waits for the coordinator to know of it.
sub unregistered { return $_[0]{accumulator}->unregistered }
sub registered   { my ($self, @partition) = @_; return $self->{accumulator}->register(@partition) }

# How many messages of the transaction are neither delivered nor failed.
sub in_transaction { return $_[0]{accumulator}->transaction_unsettled }

# Those of its messages that are not on their way.
sub fail_unsent {
    my ($self, $error) = @_;
    $self->{accumulator}->fail_transactional($error);
    return $self->settled;
}

# --- the end --------------------------------------------------------------------------------

# Nothing is taken or sent any more.
sub stop {
    my ($self) = @_;
    @$self{qw(rules tells)} = ({ refusal => EV::Kafka::Error->without_code('EV::Kafka: client is closed')->as_fatal }, sub { });
    $self->_divert;
    delete @$self{qw(resting retrying)};
    @{ $self->{options} }{qw(_linger_active _linger_timer)} = (0, undef);
    $self->{$_}->stop for qw(parked expiry buffer);
    return;
}

# What is on its way has lost its connection. Gives the number of messages of whose end nobody hears.
sub close {
    my ($self, $error) = @_;
    $self->stop;
    my $unheard = $self->{accumulator}->fail_all($error, EV::Kafka::Error->without_code('disconnected', 1));
    $self->{outbox}->call_through($self->{accumulator}, 'deliver_all');
    $self->{flush}->close($error);
    return $unheard;
}

# In a forked child.
sub abandon {
    my ($self) = @_;
    $self->stop;
    $self->{$_}->abandon for qw(identity flush);
    return;
}

# --- messages -------------------------------------------------------------------------------

sub _take {
    my ($self, $message) = @_;
    my $topic = $message->{topic};
    $message->{acks} = $self->{settings}->own_acks($message->{acks}) if exists $message->{acks};
    my $refusal = $self->{identity}->error // $self->{rules}{refusal};
    return $self->_refuse($message, $refusal) if defined $refusal;
    return $self->_append($message) if $self->_is_direct($topic);
    my $invalid = EV::Kafka::Partitions::invalid_topic($topic);
    return defined $invalid ? $self->_refuse($message, $invalid) : $self->_park($message);
}

# Others have been produced before it: what dies, a partitioner say, ends this one only.
sub _take_one_of_many {
    my ($self, $message, $cb) = @_;
    local $@;
    $message = EV::Kafka::Producer::Message->of_texts($message) if ref $message eq 'ARRAY';
    $message->{cb} = $cb;
    return if eval { $self->_take($message->encoded($self->{encoder})); 1 };
    return $self->_refuse($message, EV::Kafka::Error::reason($@));
}

# Whether messages go straight into batches. As long as older ones wait for their
# topic to be known the next ones wait behind them.
sub _is_direct {
    my ($self, $topic) = @_;
    return $self->{cluster}->is_known($topic) && !$self->{parked}->has($topic);
}

sub _append {
    my ($self, $message) = @_;
    my $topic     = $message->{topic};
    my $partition = $message->{partition} //= $self->{settings}->partition_of($message);
    # The partitioner may have closed the client.
    return $self->_refuse($message, EV::Kafka::Error->closed) if $self->{outbox}->has_ended;
    return $self->_park($message) unless $self->_is_direct($topic);
    my $refused = $self->{accumulator}->append($topic, $partition, @$message{qw(key value headers timestamp cb acks)});
    return defined $refused ? $self->_no_room($message, $refused) : $self->{parked}->watch($topic, $partition);
}

sub _park {
    my ($self, $message) = @_;
    my $encoder = $self->{encoder};
    # Whether the key has to be decoded for a partitioner to see what the program has given.
    my $is_text = $encoder ? $encoder->is_text : utf8::is_utf8($message->{key});
    my $refused = $self->{parked}->park($message, $is_text);
    return defined $refused ? $self->_no_room($message, $refused) : $self->{expiry}->watch;
}

sub _no_room {
    my ($self, $message, $error) = @_;
    # There never will be: nobody is to wait for it.
    return $self->_refuse($message, $error) if $error ne EV::Kafka::Producer::Buffer::FULL;
    my $is_heard = $message->{cb} || $self->{rules}{joined};
    $self->{buffer}->refuse($is_heard);
    $self->_watch;
    return $is_heard ? $self->_refuse($message, EV::Kafka::Producer::Buffer::error()) : undef;
}

# A message that is not taken. Who hears so and produces again may be refused again:
# that is told from the loop.
sub _refuse {
    my ($self, $message, $error) = @_;
    my ($outbox, $rules, $cb) = (@$self{qw(outbox rules)}, $message->{cb});
    $error = EV::Kafka::Error->from($error)->at(operation => 'Produce', map { $_ => $message->{$_} } qw(topic partition));
    if    ($cb)               { $outbox->call_in_turn(refusal => DELIVERY, _call_of($cb, undef, $error)) }
    elsif (!$rules->{joined}) { $outbox->report_in_turn(refusal => $error) }
    $self->{tells}->(transaction_failed => abort => $error, $rules->{transaction}) if $rules->{joined};
    return;
}

# A delivery callback, and all that it is to be called with.
sub _call_of {
    my ($cb, @about) = @_;
    return ref $cb eq 'ARRAY' ? ($cb->[0], @about, @$cb[1 .. $#$cb]) : ($cb, @about);
}

# Whether the native produce takes messages.
sub _divert {
    my ($self) = @_;
    my $is_refused = defined($self->{identity}->error // $self->{rules}{refusal});
    return $self->{accumulator}->divert($is_refused);
}

# --- what has been settled ----------------------------------------------------------------------

sub _answered {
    my ($self, $node_id, $news) = @_;
    my $cluster = $self->{cluster};
    $self->settled;
    $self->_log($node_id, $news) if $self->{outbox}->logs('producer');
    $cluster->request_failed(main => $node_id) if $news->{is_lost};
    $self->_retry_after($news->{retry_after});
    $cluster->want_to_write($_) for @{ $news->{refresh} };
    $self->{outbox}->report($_) for @{ $news->{reports} };
    $self->{tells}->(transaction_failed => @$news{qw(harm harm_error)}) if defined $news->{harm};
    # What delivery callbacks produce may go along.
    return $self->{outbox}->then($self, 'send_ready');
}

sub _log {
    my ($self, $node_id, $news) = @_;
    my $after = defined $news->{retry_after} ? sprintf '; next try in %.2f s', $news->{retry_after} : '';
    for my $batch (@{ $news->{failed} }) {
        my ($topic, $partition, $code, $records) = @$batch{qw(topic partition error_code records)};
        my $why = $code ? 'broker refuses it with ' . EV::Kafka::Error->of_code($code)->text : 'no answer';
        $self->{outbox}->log(producer => warning => "$topic:$partition, a batch of $records for broker $node_id: $why$after",
            topic => $topic, partition => $partition, broker => $node_id, code => $code);
    }
    return;
}

sub _retry_after {
    my ($self, $seconds) = @_;
    $self->{retrying} = defined $seconds ? $self->{loop}->timer($seconds, $self, '_retry') : undef;
    return;
}

sub _retry {
    my ($self) = @_;
    $self->_retry_after($self->{accumulator}->resume);
    return $self->send_ready;
}

sub _serve {
    my ($self, $node_id) = @_;
    my $cluster = $self->{cluster};
    return unless $cluster->is_connected;
    my $conn = $cluster->ready_conn(main => $node_id) or return $cluster->open(main => $node_id);
    return $self->{accumulator}->serve($node_id, $conn, $cluster->longest_quiet);
}

sub _deliver {
    my ($self, $has_rested) = @_;
    $self->{delivers} = 0;
    $self->{accumulator}->deliver($has_rested);
    return $self->{outbox}->then($self, '_progress');
}

sub _deliver_on {
    my ($self) = @_;
    delete $self->{resting};
    return $self->{outbox}->call_through($self, _deliver => 1);
}

sub _progress {
    my ($self) = @_;
    $self->{buffer}->check;
    $self->{tells}->('progress');
    $self->{flush}->check;
    return $self->_watch;
}

sub _may_leave { return $_[0]{tells}->('progress') }

# Whether native code tells that something has been settled, if there is no transaction.
sub _watch {
    my ($self) = @_;
    return $self->{accumulator}->watch($self->{buffer}->is_full || $self->{flush}->is_waited_for);
}

# Without an id nothing can be sent. The next connect asks again.
sub _unidentified {
    my ($self, $error) = @_;
    $self->_divert;
    $self->{outbox}->report($error);
    $self->{tells}->(failed => $error);
    $self->{accumulator}->fail_waiting($self->{identity}->error);
    return $self->settled;
}

# --- what the parts tell --------------------------------------------------------------------------

# Messages that have no sequence number yet leave under this id from now on.
sub _identity_identified {
    my ($self) = @_;
    $self->_divert;
    $self->_use_identity;
    $self->send_ready;
    return $self->{tells}->('identified');
}

sub _use_identity {
    my ($self) = @_;
    my ($producer_id, $epoch) = $self->identity;
    $self->{outbox}->log(producer => info => "producer id $producer_id, epoch $epoch") if $self->{outbox}->logs('producer');
    return $self->{accumulator}->set_identity($producer_id, $epoch);
}

sub _identity_failed {
    my ($self, $error, $had_one) = @_;
    $self->{tells}->(identity_failed => $error, $had_one);
    # What becomes of one that there was is for the transaction to say.
    return if $had_one;
    $self->{identity}->fail($error);
    return $self->_unidentified($error);
}

sub _expiry_expired {
    my ($self, $batches, $transactional, @errors) = @_;
    $self->settled;
    $self->{outbox}->report($_) for @errors;
    my $limit = $self->{options}{delivery_timeout};
    $self->{tells}->(transaction_failed => 'new epoch',
        EV::Kafka::Error->without_code("delivery timed out after $limit s", 1)->at(operation => 'Produce')) if $transactional;
    return $batches ? $self->send_ready : undef;
}

sub _buffer_has_room { my ($self) = @_; return $self->{outbox}->call($self->{options}{on_drain}) }

sub _parked_refused {
    my ($self, $cb, $error, $is_transactional) = @_;
    my $outbox = $self->{outbox};
    if    ($cb)                { $outbox->call_as(DELIVERY, _call_of($cb, undef, $error)) }
    elsif (!$is_transactional) { $outbox->report($error) }
    return $is_transactional ? $self->{tells}->(transaction_failed => abort => $error) : undef;
}

sub _parked_failed {
    my ($self, $error, $unheard, $is_transactional) = @_;
    $self->settled;
    $self->{outbox}->report($error) if $unheard;
    return $is_transactional ? $self->{tells}->(transaction_failed => abort => $error) : undef;
}

# What a broker is given for its replicas, and how much longer than request_timeout that is.
sub _timeouts {
    my ($options) = @_;
    my $request_ms = ($options->{request_timeout} // REQUEST_TIMEOUT) * 1000;
    my $given      = $options->{broker_timeout};
    my $broker_ms  = defined $given ? $given * 1000 : !$request_ms || $request_ms > PRODUCE_TIMEOUT_MS ? PRODUCE_TIMEOUT_MS : $request_ms;
    $broker_ms = $broker_ms < 1 ? 1 : int $broker_ms;
    return (timeout_ms => $broker_ms, beyond_ms => $request_ms && $broker_ms > $request_ms ? int($broker_ms - $request_ms) : 0);
}

1;

__END__

=head1 NAME

EV::Kafka::Producer - what becomes of an EV::Kafka client's messages

=head1 DESCRIPTION

For L<EV::Kafka::Client>, not for use by itself. C<produce> itself is native and writes a message
straight into its partition's open batch. This class owns those batches (C<EV::Kafka::Accumulator>,
native) and does everything else: messages with acknowledgements of their own, topics that are not
known yet, linger, the producer's identity, and what follows from requests.

=head1 METHODS

=head2 new(%about)

It tells C<identified>, C<identity_failed>, C<failed>, C<epoch_needed>, C<transaction_failed> and
C<progress>.

=head2 produce(@arguments), produce_placed($partition, @arguments), produce_many(\@messages, [$cb, [@with]]), flush([$cb]), purge, buffered, on_drain($cb)

The program's; and C<produce> of a message whose partition has been chosen.

=head2 accumulator, linger_begin, options_changed, must_register, send_to($node_id), leaderless($is_so), answered($node_id, $news), settled, rest, progress

For native code: where messages lie, and what it tells.

=head2 route($topic, \@leaders, $topic_id), metadata_changed, needs_broker($node_id), send_ready, flush_all

What the cluster knows now; whether a connection to the broker is needed; whatever can leave does, and
nothing lingers any more.

=head2 has_identity, is_ready, identity, needs_identity, renew, adopt($producer_id, $epoch), fail($text)

The producer id and epoch: whether there are any, and will be in a moment; which; whether others are
needed; asks for others, or was given them; there will never be any again.

=head2 waits_for_leaders

Leaders that messages wait for, as L<EV::Kafka::Waits> has it.

=head2 rules(%rules)

What the transaction has to say.

=head2 begin_transaction, keep_for_next, abort_transaction, end_transaction, leave_transaction, transaction_version($version), unregistered, registered($topic, $partition), in_transaction, fail_unsent($text)

Its messages.

=head2 count, stats

What is settled is counted from now on; its own numbers, and a hash for each partition.

=head2 stop, close($error), abandon

Nothing is taken or sent any more; what is queued fails, which gives the number of messages of whose end nobody
hears; a forked child gives up.

=head1 SEE ALSO

L<EV::Kafka>

=cut
