package EV::Kafka::Cluster;
use strict;
use warnings;

use EV::Kafka::Cluster::Connector;
use EV::Kafka::Cluster::Control;
use EV::Kafka::Cluster::Features;
use EV::Kafka::Cluster::Links;
use EV::Kafka::Cluster::Metadata;
use EV::Kafka::Cluster::Topics;
use EV::Kafka::Cluster::Waiting;
use EV::Kafka::Error;
use EV::Kafka::Partitions;

# The cluster as a client sees it: which topics there are, who leads them, the connections to
# brokers, and what waits for one of these. Its state lies in its parts:
#   topics     what is known of brokers, topics and leaders
#   features   what the brokers have agreed on
#   waiting    operations that wait for metadata, a leader or a connection
#   connector  makes connections
#   links      connections to brokers
#   control    the connection for Metadata
#   metadata   when it is asked for, and what becomes of the answers
# of which each knows those above it in this list. Of its own it has
#   logged     the leaders that were logged last, by topic; logged_brokers, the same of the brokers
#   outage     'connecting' or 'connected' once on_error has heard that no broker answers

# What waits for the program, see EV::Kafka::Waits.
use constant NOT_STARTED => { subject => 'connect', text => 'connect was not called: until it is, nothing is sent or fetched' };

# tells: opens (a connection is about to be made), leaders($topic, \@by_partition, $topic_id), recreated($topic),
# connected (once), metadata($has_news) after each answer, ready($purpose, $node_id), down($purpose,
# $node_id) when a connection has ended that somebody may still need, gone($purpose, $node_id) when what
# is under way there is given up, program_op($op), an operation that a program has put into
# {pending_ops}, is to run.
sub new {
    my ($class, %about) = @_;
    my $self  = bless { map({ $_ => $about{$_} } qw(outbox tells)), outage => '' }, $class;
    my %ground = (map({ $_ => $about{$_} } qw(loop outbox options)), published => $about{options});
    $self->{topics}    = EV::Kafka::Cluster::Topics->new($about{options});
    $self->{topics}->clear;
    $self->{features}  = EV::Kafka::Cluster::Features->new;
    $ground{$_}        = $self->{$_} for qw(topics features);
    $self->{waiting}   = EV::Kafka::Cluster::Waiting->new(%ground, tells => $about{tells});
    $self->{connector} = EV::Kafka::Cluster::Connector->new(%ground, tells => $about{tells});
    $ground{connector} = $self->{connector};
    $self->{links}     = EV::Kafka::Cluster::Links->new(%ground, notify => $self->{outbox}->listener($self, 'link'));
    $self->{control}   = EV::Kafka::Cluster::Control->new(%ground, notify => $self->{outbox}->listener($self, 'control'));
    $self->{metadata}  = EV::Kafka::Cluster::Metadata->new(%ground, map({ $_ => $self->{$_} } qw(waiting control)),
        notify => $self->{outbox}->listener($self, 'metadata'));
    return $self;
}

# --- what is known ------------------------------------------------------------------

# Asked of every partition for every Fetch, hence without copies.
sub leader           { return $_[0]{topics}->leader($_[1], $_[2]) }
sub leader_epoch     { return $_[0]{topics}->leader_epoch($_[1], $_[2]) }
sub is_known         { my ($self, @wanted) = @_; return $self->{topics}->is_known(@wanted) }
sub trouble          { my ($self, @wanted) = @_; return $self->{topics}->trouble(@wanted) }
sub is_gone          { my ($self, @partition) = @_; return $self->{topics}->is_gone(@partition) }
sub partitions       { my ($self, $topic) = @_; return $self->{topics}->partitions($topic) }
sub feature          { my ($self, $name) = @_; return $self->{features}->level($name) }
sub partition_counts { return $_[0]{topics}->partition_counts }
sub topic_id         { return $_[0]{topics}->topic_id($_[1]) }
sub with_ids         { return $_[0]{topics}->with_ids($_[1]) }
sub topic_of         { return $_[0]{topics}->topic_of($_[1]) }
sub topic_names      { return $_[0]{topics}->topic_names }
sub listed_topics    { return $_[0]{topics}->listed_topics }
sub partition_racks  { my ($self, @topics) = @_; return $self->{topics}->partition_racks(@topics) }
sub brokers          { return $_[0]{topics}->brokers }
sub controller       { return $_[0]{topics}->controller }
sub broker           { my ($self, $node_id) = @_; return $self->{topics}->broker($node_id) }
sub add_broker       { my ($self, @broker) = @_; return $self->{topics}->add_broker(@broker) }

# --- what is asked ------------------------------------------------------------------

# Also after all brokers were found dead: at once, and worth another report.
sub connect {
    my ($self) = @_;
    return if $self->{metadata}->is_under_way;
    $self->{outage} = '' if $self->{outage} eq 'connecting';
    return $self->{metadata}->start;
}

sub is_started   { return $_[0]{metadata}->is_started }
sub is_connected { return $_[0]{metadata}->is_connected }

# A topic's metadata, undef for all topics.
sub want {
    my ($self, $topic, $delay) = @_;
    return $self->{metadata}->want($topic // EV::Kafka::Cluster::Metadata::ALL_TOPICS, $delay);
}

sub is_wanted {
    my ($self, $topic) = @_;
    return $self->{metadata}->is_wanted($topic // EV::Kafka::Cluster::Metadata::ALL_TOPICS);
}

sub refresh       { return $_[0]->want(undef) }
sub want_to_write { my ($self, $topic) = @_; return $self->{metadata}->want_to_write($topic) }
sub find_leaders  { return $_[0]{metadata}->find_leaders }
sub leaders_found { return $_[0]{metadata}->leaders_found }

# --- operations: as EV::Kafka::Cluster::Waiting has them --------------------------------

# On a ready connection, now or once there is one. The next failure to connect fails it.
sub on_broker {
    my ($self, $purpose, $node_id, $op) = @_;
    my $queued = { %$op, is_owners => 1, purpose => $purpose, node_id => $node_id };
    if (my $conn = $self->{links}->ready_conn($purpose, $node_id)) {
        return $self->{waiting}->run($queued, $conn);
    }
    $self->{waiting}->add($queued);
    return $self->open($purpose, $node_id);
}

# One on a topic that has no leader waits, and the topic is asked for.
sub on_topic {
    my ($self, $op) = @_;
    my ($waiting, $topic) = ($self->{waiting}, $op->{topic});
    my $queued = { %$op, is_owners => 1 };
    return $waiting->run($queued) if $self->is_connected && $waiting->has_what_it_needs($op);
    my $invalid = EV::Kafka::Partitions::invalid_topic($topic);
    return $waiting->fail(EV::Kafka::Error->without_code($invalid)->at(topic => $topic), $op) if defined $invalid;
    $self->_wait_for($queued);
    return $op->{is_write} ? $self->want_to_write($topic) : $self->want($topic);
}

sub when_connected {
    my ($self, $op) = @_;
    my $queued = { %$op, is_owners => 1 };
    return $self->is_connected ? $self->{waiting}->run($queued) : $self->_wait_for($queued);
}

sub _wait_for {
    my ($self, $op) = @_;
    $self->{waiting}->add($op);
    return $self->is_started ? undef : $self->{outbox}->watch($self, 'waits_for_connect');
}

# What somebody waits for who waits for the program to connect. See EV::Kafka::Waits.
sub not_started       { return $_[0]->is_started ? () : NOT_STARTED }
sub waits_for_connect { return $_[0]{waiting}->count ? $_[0]->not_started : () }

# --- connections --------------------------------------------------------------------

sub ready_conn { return $_[0]{links}->ready_conn($_[1], $_[2]) }

# Names the connection: another one to the same broker has another name. '' while there is none.
sub connected_since {
    my ($self, @link) = @_;
    my $link = $self->{links}->link(@link) or return '';
    return $link->connected_since;
}

sub open {
    my ($self, $purpose, $node_id) = @_;
    return $self->{links}->open($purpose, $node_id);
}

# On purpose: what is under way there is of no interest any more.
sub close_link {
    my ($self, @link) = @_;
    my $link = $self->{links}->link(@link) or return;
    return $link->close;
}

# A request that was lost with its connection.
sub request_failed {
    my ($self, @link) = @_;
    my $link = $self->{links}->link(@link) or return;
    return $link->request_failed;
}

# Seconds for which nothing may have moved on a connection that is used without a word to us.
sub longest_quiet { return $_[0]{links}->longest_quiet }

# One that the cluster knows nothing of.
sub new_conn { my ($self, $loop) = @_; return $self->{connector}->conn($loop) }

sub control_conn   { return $_[0]{control}->conn }
sub answer_timeout { return $_[0]{control}->answer_timeout }

# Which broker the connection for Metadata leads to, if one is known at its address.
sub control_node {
    my ($self) = @_;
    my ($topics, $address) = ($self->{topics}, $self->{control}->address // return undef);
    my ($node_id) = grep { my $broker = $topics->broker($_); "$broker->{host}:$broker->{port}" eq $address } $topics->brokers;
    return $node_id;
}

# --- statistics ----------------------------------------------------------------------

sub count { my ($self) = @_; $_->count for @$self{qw(connector links control)}; return }

# By broker, and of the connection for Metadata.
sub stats { my ($self) = @_; return ($self->{links}->stats, $self->{control}->stats) }

# Whether brokers have answered, and not all of them are lost since.
sub is_reachable { my ($self) = @_; return $self->is_connected && $self->{outage} eq '' ? 1 : 0 }

# As connect's callback gets them.
sub known_metadata { return $_[0]{topics}->meta }

# Runs what waits for a connection to the broker.
sub run_on_broker {
    my ($self, $node_id) = @_;
    my @left = $self->{waiting}->run_on_broker($node_id, sub { return scalar $self->ready_conn($_[0], $node_id) });
    $self->open($_, $node_id) for @left;
    return;
}

# --- what the parts say -------------------------------------------------------------

sub _link_ready {
    my ($self, $link) = @_;
    $self->run_on_broker($link->{node_id});
    return $self->{tells}->(ready => @$link{qw(purpose node_id)});
}

# Whoever needs it opens it again.
sub _link_ended {
    my ($self, $link) = @_;
    $link->open if $self->{waiting}->is_for_broker($link->{node_id});
    return $self->{tells}->(down => @$link{qw(purpose node_id)});
}

sub _link_failed {
    my ($self, $link, $error) = @_;
    return $self->{waiting}->fail_on_broker(@$link{qw(purpose node_id)}, $error);
}

sub _link_gone    { my ($self, $link) = @_; return $self->{tells}->(gone => @$link{qw(purpose node_id)}) }
sub _link_doubted { return $_[0]->refresh }

# What is known of the cluster leads to another one's brokers.
sub _link_elsewhere { return $_[0]{metadata}->start_again }

sub _control_answered {
    my ($self, $head, $answer) = @_;
    $self->{links}->none_is_lost if $self->{outage} eq 'connected';
    $self->{outage} = '';
    $self->{links}->answered_at($self->{control}->address);
    return $self->{metadata}->answered($head, $answer);
}

# Once per outage: not for every round of tries, nor when the loss of a broker
# has already been reported.
sub _control_unanswered {
    my ($self, $reasons, $delay) = @_;
    $self->{metadata}->unanswered($delay);
    if (!$self->is_connected) {
        return if $self->{outage};
        $self->{outage} = 'connecting';
        return $self->{outbox}->report(_no_metadata("connect: no bootstrap broker answers: $reasons"));
    }
    return if $self->{links}->is_any_lost;
    $self->{outage} = 'connected';
    $self->{links}->all_are_lost;
    return $self->{outbox}->report(_no_metadata("all brokers lost: $reasons"));
}

sub _no_metadata { return EV::Kafka::Error->without_code($_[0], 1)->at(operation => 'Metadata') }

sub _metadata_recreated {
    my ($self, $topic) = @_;
    $self->{outbox}->log(cluster => info => "$topic: was deleted and created anew", topic => $topic) if $self->{outbox}->logs('cluster');
    return $self->{tells}->(recreated => $topic);
}

sub _metadata_leaders {
    my ($self, $topic) = @_;
    $self->_log_leaders($topic) if $self->{outbox}->logs('cluster');
    return $self->{tells}->(leaders => $topic, $self->{topics}->leaders_of($topic), $self->{topics}->topic_id($topic));
}

# Of a topic that is new one line, then one for each partition that changes.
sub _log_leaders {
    my ($self, $topic) = @_;
    my ($is, $was) = ($self->{topics}->leaders_of($topic), $self->{logged}{$topic});
    $self->{logged}{$topic} = [@$is];
    my ($outbox, @about) = ($self->{outbox}, topic => $topic);
    return $outbox->log(cluster => info => "$topic: " . (@$is ? "leaders of its partitions are @$is" : 'unknown'), @about) if !$was || !@$is;
    for my $partition (grep { $is->[$_] != ($was->[$_] // -1) } 0 .. $#$is) {
        my ($leader, $epoch) = ($is->[$partition], $self->{topics}->leader_epoch($topic, $partition));
        my $text = "$topic:$partition: " . ($leader < 0 ? 'no leader' : "leader is broker $leader" . ($epoch < 0 ? '' : " in epoch $epoch"));
        my $before = $was->[$partition] // -1;
        $text .= $before < 0 ? ', there was none' : ", it was broker $before";
        $outbox->log(cluster => info => $text, @about, partition => $partition, broker => $leader);
    }
    return;
}

sub _log_brokers {
    my ($self) = @_;
    my $brokers = join ', ', map { my $broker = $self->broker($_); "$_ ($broker->{host}:$broker->{port})" } $self->brokers;
    return if ($self->{logged_brokers} // '') eq $brokers;
    $self->{logged_brokers} = $brokers;
    return $self->{outbox}->log(cluster => info => "brokers are $brokers");
}

sub _metadata_brokers {
    my ($self, $adoption) = @_;
    $self->_log_brokers if $self->{outbox}->logs('cluster');
    $self->_tell_of_impossible_ports($adoption->{head});
    $self->{links}->forget_departed;
    $self->{links}->follow_moved;
    return;
}

sub _tell_of_impossible_ports {
    my ($self, $head) = @_;
    for my $broker (@{ $head->{brokers} || [] }) {
        next if EV::Kafka::Cluster::Topics::is_port($broker->{port} // 0);
        $self->{outbox}->notice("port of $broker->{node_id}", "broker $broker->{node_id} cannot be reached: metadata name port "
            . "$broker->{port} of $broker->{host}", broker => $broker->{node_id});
    }
    return;
}

# What has waited for the first answer goes before what is done because of it.
sub _metadata_adopted {
    my ($self, $has_news, $is_first) = @_;
    my $waiting = $self->{waiting};
    if ($is_first) {
        $self->{metadata}->refresh_from_now_on;
        $waiting->run_on_topics;
        $waiting->run_connected;
        $self->{tells}->('connected');
    }
    $waiting->run_on_topics;
    return $self->{tells}->(metadata => $has_news);
}

# --- the end ------------------------------------------------------------------------

# Nothing is asked for, opened or run any more, and there are no news.
sub stop {
    my ($self) = @_;
    $self->{tells} = sub { };
    $self->{$_}->stop for qw(metadata control links);
    return;
}

sub fail_waiting { my ($self, $error) = @_; return $self->{waiting}->close($error) }

sub close {
    my ($self, $error) = @_;
    $self->stop;
    $self->fail_waiting($error);
    $self->{$_}->close for qw(links control connector);
    return;
}

# In a forked child: all is given up, and nobody is called.
sub abandon {
    my ($self) = @_;
    $self->stop;
    $self->{waiting}->abandon;
    $self->{topics}->clear;
    $self->{$_}->close for qw(links control connector);
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Cluster - the brokers, topics and leaders that an EV::Kafka client works with

=head1 DESCRIPTION

For the classes that make up L<EV::Kafka::Client>, not for use by itself. It finds out who leads which
partition, and keeps that up to date (L<EV::Kafka::Cluster::Metadata>, L<EV::Kafka::Cluster::Topics>); it
has the connections to brokers (L<EV::Kafka::Cluster::Links>, L<EV::Kafka::Cluster::Control>,
L<EV::Kafka::Cluster::Connector>), and the operations that wait for either
(L<EV::Kafka::Cluster::Waiting>). What has happened it tells by the code that C<new> is given.

=head1 METHODS

=head2 new(%about)

Of an L<EV::Kafka::Loop>, an L<EV::Kafka::Outbox>, the client's options and the code for news.

=head2 leader($topic, $partition), leader_epoch($topic, $partition)

Who leads a partition.

=head2 is_known($topic, [$partition]), is_gone($topic, $partition), partitions($topic), partition_counts, topic_names, listed_topics, partition_racks(@topics), topic_id($topic), topic_of($id), with_ids(\@topics)

Which topics and partitions there are, and the ids of topics.

=head2 brokers, broker($node_id), add_broker($node_id, $host, $port), controller

The brokers, and which of them controls the cluster. All is as L<EV::Kafka::Cluster::Topics> has it.

=head2 feature($name)

The level of a feature that the brokers have agreed on, as L<EV::Kafka::Cluster::Features> has it.

=head2 trouble($topic, [$partition])

Why that cannot be used now, as one word and a text; nothing if it can.

=head2 connect, is_started, is_connected, is_reachable, waits_for_connect, not_started

Asks for the first metadata; whether that was done, whether it is there, and whether brokers
still answer. What waits for it to be asked for, as
L<EV::Kafka::Waits> has it.

=head2 known_metadata

What is known of the cluster, as C<connect> calls back with it.

=head2 count, stats

What connections do is counted from now on; what they have done, by broker, and of the one for Metadata.

=head2 want($topic, [$delay]), want_to_write($topic), refresh, is_wanted($topic)

Asks for a topic's metadata, or for those of all topics (undef); whether that is still to be done.

=head2 find_leaders, leaders_found

Looks for leaders of partitions that have none, ever more slowly; there is no such partition.

=head2 on_broker($purpose, $node_id, \%op), on_topic(\%op), when_connected(\%op)

Run an operation, C<< { run => sub { my ($op, $conn) = @_ }, cb => sub { my (undef, $error) = @_ } } >>, when there is
the connection, the leader or the first metadata that it needs.

=head2 ready_conn($purpose, $node_id), open($purpose, $node_id), close_link($purpose, $node_id), connected_since($purpose, $node_id)

The connection to a broker if something may be sent now; opens it; closes it.

=head2 request_failed($purpose, $node_id)

A request was lost with its connection.

=head2 longest_quiet

Seconds for which nothing may have moved on a connection that is used without C<ready_conn>.

=head2 new_conn([$loop]), control_conn, control_node, answer_timeout

A connection with the client's options; the one for Metadata, and to which broker it leads if that is known; the seconds that an answer may take there.

=head2 run_on_broker($node_id)

Runs what waits for the broker.

=head2 stop, fail_waiting($error), close($error), abandon

Nothing new; what waits fails; the end; the end in a forked child.

=head1 SEE ALSO

L<EV::Kafka>

=cut
