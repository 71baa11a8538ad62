package EV::Kafka::Producer;
use strict;
use warnings;

use Carp ();
use Scalar::Util ();

use EV::Kafka::Partitions;

my %PRODUCE_OPTION = map { $_ => 1 } qw(partition headers timestamp acks);

# Everything that the native produce does not do itself comes here: messages with
# options, topics that are not known, a partitioner of the user's, a client that is
# closed. A message is a hash of
#   topic, key, value, partition, headers, timestamp, acks, cb
# of which all but the topic may be undef, and given_key, the program's own key if the
# option strings has made another one of it.
sub _produce_slow {
    my ($self, $topic, $key, $value, @rest) = @_;
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT';    # what a producer is made of may have gone before
    $self->_check_open;
    _check_texts($topic, $key, $value);
    Carp::croak('produce: key and value required (undef for none)') if @_ < 4;
    my ($opts, $cb) = _opts_and_callback(@rest);
    _check_message($topic, $opts);
    my %message = (topic => $topic, key => $key, value => $value, cb => $cb, %$opts);
    $message{acks} = $self->_own_acks($opts->{acks}) if exists $opts->{acks};
    $self->_encode_message(produce => \%message) if $self->{cfg}{encoder};
    return $self->_produce_message(\%message);
}

# A program's partitioner sees the key that the program has given.
sub _encode_message {
    my ($self, $method, $message) = @_;
    my $encoder = $self->{cfg}{encoder};
    $message->{given_key} = $message->{key};
    $message->{$_} = $encoder->encoded($method, $_, $message->{$_}) for qw(key value);
    $message->{headers} = $encoder->encoded_headers($method, $message->{headers});
    return;
}

sub _produce_message {
    my ($self, $message) = @_;
    my $cfg = $self->{cfg};
    return $self->_refuse($message, $cfg->{producer_error}) if defined $cfg->{producer_error};
    my $refusal = $self->_produce_refusal;
    return $self->_refuse($message, $refusal) if defined $refusal;
    return $self->_append_message($message) if $self->_is_direct($message->{topic});
    my $invalid = EV::Kafka::Partitions::invalid_topic($message->{topic});
    return defined $invalid ? $self->_refuse($message, $invalid) : $self->_park_message($message);
}

# Whether messages go straight into batches. As long as older ones wait for their
# topic to be known the next ones wait behind them.
sub _is_direct {
    my ($self, $topic) = @_;
    my $cfg = $self->{cfg};
    return $self->_is_known($topic) && !$cfg->{parked}{$topic};
}

sub _append_message {
    my ($self, $message) = @_;
    my $partition = $message->{partition} // $self->_partition_of($message);
    # A partitioner may do anything.
    return $self->_refuse($message, 'client closed') if $self->{cfg}{closed};
    return $self->_park_message({ %$message, partition => $partition }) unless $self->_is_direct($message->{topic});
    my $refused = $self->{accumulator}->append($message->{topic}, $partition, @$message{qw(key value headers timestamp cb acks)});
    return $self->_no_room($message, $refused) if defined $refused;
    return if $self->{cfg}{closed} || $self->_is_known($message->{topic}, $partition);
    return $self->_watch_partition($message->{topic}, $partition);
}

# A message that is not taken. Who hears so and produces again may be refused again:
# that is told from the loop.
sub _refuse {
    my ($self, $message, $error) = @_;
    my $cfg = $self->{cfg};
    my $txn = $cfg->{closed} ? undef : $self->_txn_joined;
    my $op  = { cb => $message->{cb}, label => EV::Kafka::Buffer::DELIVERY(), is_told => defined $txn };
    if ($cfg->{refusing}) {
        if    ($op->{cb}) { $self->{outbox}->call_later(@$op{qw(label cb)}, undef, $error) }
        elsif (!$txn)     { $self->{outbox}->report_later($error) }
    }
    else {
        local $cfg->{refusing} = 1;
        $self->_fail_ops($error, $op);
    }
    return $txn ? $self->_txn_broken($txn, $error) : undef;
}

# The default goes by the bytes that are sent.
sub _partition_of {
    my ($self, $message) = @_;
    my $is_given = ref $self->{cfg}{partitioner} && exists $message->{given_key};
    return $self->_choose_partition($message->{topic}, $message->{ $is_given ? 'given_key' : 'key' });
}

sub _choose_partition {
    my ($self, $topic, $key) = @_;
    my $partitioner = $self->{cfg}{partitioner};
    return $self->{accumulator}->partition_for($topic, $key) unless ref $partitioner;
    my $count       = $self->{cluster}->partitions($topic);
    my $partition   = EV::Kafka::_shielded_value($partitioner, $topic, $key, $count);
    Carp::croak("produce: partitioner must return a partition from 0 to ${\ ($count - 1)} for topic '$topic'")
        unless defined $partition && $partition =~ /\A[0-9]+\z/ && $partition < $count;
    return $partition;
}

# In either order, and undef in the place of either.
sub _opts_and_callback {
    my @rest = @_;
    my ($opts, $cb);
    for my $place (0 .. $#rest) {
        my $given = $rest[$place];
        next unless defined $given;
        if    (!defined $opts && ref $given eq 'HASH') { $opts = $given }
        elsif (!defined $cb && (Scalar::Util::reftype($given) // '') eq 'CODE') { $cb = $given }
        else {
            Carp::croak('produce: options must be a hash reference') if $place < $#rest || defined $cb && !defined $opts;
            Carp::croak('produce: callback must be a code reference');
        }
    }
    Carp::croak('produce: callback must be a code reference') if @rest > 2;
    return ($opts || {}, $cb);
}

# What a message asks for, if that is not what the client asks for.
sub _own_acks {
    my ($self, $acks) = @_;
    my $cfg = $self->{cfg};
    $self->_apply_options;
    return undef if !defined $acks || $acks == $cfg->{acks};
    return $acks if !$cfg->{idempotent};
    Carp::carp("EV::Kafka: an idempotent producer needs acks -1: acks $acks of a message is taken as -1")
        unless $cfg->{acks_warned}++;
    return undef;
}

sub _check_message {
    my ($topic, $opts) = @_;
    Carp::croak('produce: topic required') unless defined $topic && length $topic;
    for my $name (sort keys %$opts) {
        Carp::croak("produce: unknown option '$name'") unless $PRODUCE_OPTION{$name};
    }
    for my $name (grep { defined $opts->{$_} } qw(partition timestamp)) {
        Carp::croak("produce: option '$name' must be a non-negative integer, not '$opts->{$name}'")
            unless $opts->{$name} =~ /\A[0-9]+\z/;
    }
    Carp::croak("produce: option 'acks' must be -1, 0 or 1, not '$opts->{acks}'")
        if defined $opts->{acks} && $opts->{acks} !~ /\A(?:-1|0|1)\z/;
    return _check_headers($opts->{headers});
}

sub _check_headers {
    my ($headers) = @_;
    my $kind = ref $headers;
    return if !defined $headers;
    Carp::croak("produce: option 'headers' must be a hash or an array of [name, value] pairs")
        unless $kind eq 'HASH'
        || $kind eq 'ARRAY' && !grep { ref $_ ne 'ARRAY' || @$_ != 2 || !defined $_->[0] } @$headers;
    _check_strings("header's name", map { $_->[0] } @$headers) if $kind eq 'ARRAY';
    return _check_strings("header's value", $kind eq 'HASH' ? values %$headers : map { $_->[1] } @$headers);
}

# Here and not when the message is encoded, which for some is long after the call.
sub _check_strings {
    my ($what, @values) = @_;
    my @references = grep { ref } @values or return;
    require overload;
    for my $value (@references) {
        next if grep { overload::Method($value, $_) } '""', '0+', 'bool';
        my $kind = Scalar::Util::reftype($value);
        Carp::croak("produce: $what must be a string, not a reference ($kind)");
    }
    return;
}

# What was forgotten puts the callback, or the options, into another's place.
sub _check_texts {
    my ($topic, $key, $value) = @_;
    return unless ref $topic || ref $key || ref $value;
    _check_strings(topic => $topic);
    _check_strings(key   => $key);
    return _check_strings(value => $value);
}

sub produce_many {
    my ($self, $messages, $cb) = @_;
    $self->_check_open;
    ($messages, $cb) = ($cb, $messages) if ref $cb eq 'ARRAY' && ref $messages ne 'ARRAY';
    Carp::croak('produce_many: expected arrayref of messages') unless ref $messages eq 'ARRAY';
    Carp::croak('produce_many: callback must be a code reference')
        if defined $cb && (Scalar::Util::reftype($cb) // '') ne 'CODE';
    my @messages = map { $self->_unpack_message($_) } @$messages;

    my @is_heard = map { $self->_is_acknowledged($_) } @messages;
    my $left     = my $heard = grep { $_ } @is_heard;
    my @errors;
    my $delivered = sub {
        my (undef, $error) = @_;
        push @errors, $error if defined $error;
        return if --$left;
        $cb->(@errors ? \@errors : undef) if $cb;
    };
    $self->_produce_one_of_many($messages[$_], $is_heard[$_] ? $delivered : ()) for 0 .. $#messages;
    return $heard ? undef : $self->_call($cb, undef);
}

# Nobody waits for a message with acks 0.
sub _is_acknowledged {
    my ($self, $message) = @_;
    my $cfg = $self->{cfg};
    return $cfg->{acks} if $cfg->{idempotent};
    return ($message->[3] || {})->{acks} // $cfg->{acks};
}

# Others have been produced before it: what dies, a partitioner say, ends this one only.
sub _produce_one_of_many {
    my ($self, $message, @cb) = @_;
    local $@;
    return if eval { $self->produce(@$message, @cb); 1 };
    return $self->_refuse({ cb => $cb[0] }, EV::Kafka::Error::reason($@));
}

# All messages are looked at before the first is produced: a croak sends nothing.
sub _unpack_message {
    my ($self, $message) = @_;
    my ($topic, $key, $value, $opts);
    if (ref $message eq 'ARRAY') {
        ($topic, $key, $value, $opts) = @$message;
    }
    elsif (ref $message eq 'HASH') {
        my %rest = %$message;
        ($topic, $key, $value) = delete @rest{qw(topic key value)};
        $opts = \%rest if %rest;
    }
    else {
        Carp::croak('produce_many: message must be an arrayref or a hashref');
    }
    Carp::croak('produce: options must be a hash reference') if defined $opts && ref $opts ne 'HASH';
    _check_texts($topic, $key, $value);
    _check_message($topic, $opts || {});
    my $encoder = $self->{cfg}{encoder};
    $self->_encode_message(produce_many => { key => $key, value => $value, headers => ($opts || {})->{headers} })
        if $encoder && !$encoder->is_text;
    return [$topic, $key, $value, $opts ? $opts : ()];
}

1;

__END__

=head1 NAME

EV::Kafka::Producer - what becomes of a message until it lies in a batch

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. C<produce> itself is
native and writes the message straight into its partition's open batch. This
module does what is out of the ordinary: it checks options, asks a custom
partitioner, keeps messages until their topic's leader is known, and counts the
messages of C<produce_many>.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Buffer>, L<EV::Kafka::Delivery>

=cut
