package EV::Kafka::Cluster::Topics;
use strict;
use warnings;

use EV::Kafka::Error;
use EV::Kafka::Options::Hint;

# What is known of a cluster: its brokers, its topics, and who leads their partitions. Nothing
# in here asks or waits for anything.
#
# Published, in the client's {cfg}, where programs read and write them; they are looked up there
# each time, since a program may put others in their place:
#   meta        the last answer to Metadata, with the topics of those before that it has not named
#   broker_map  node_id => { host, port }
#   leaders     "topic:partition" => node_id
# Its own:
#   leaders_of  topic => [node_id by partition, -1 where there is none now]
#   epochs      topic => [leader's epoch by partition], where brokers tell them
#   ids         topic => the last id that was told of it (KIP-516), also while it is not there
#   without_id  topic => 1 where the last answer has told none
#   doubts      topic => { partition => { said, answers } }: leaders that are not believed yet
#   known       what natively tells topics that are as they were from others
#   hints       topic that is not known => which one may be meant, as the end of a text

# What no answer can make larger: ports are 16-bit numbers, and the producer's
# table of leaders has room for so many partitions of a topic.
use constant { MAX_PORT => 65535, MAX_PARTITIONS => 1 << 20 };

# Partitions are numbered without gaps, so that a number tells how many an answer should
# list. So many may be missing of a topic: a number alone is not to cost memory.
use constant MAX_MISSING => 16;

# How many answers in a row have to name the same leader of an epoch that is over before
# they are believed: the newer one may have been lost in an unclean way.
use constant REWIND_ANSWERS => 5;

use constant UNKNOWN_TOPIC_OR_PARTITION => 3;

# Characters of a topic's name for which another one may have been meant.
use constant SHORTEST_HINTED => 4;

sub new {
    my ($class, $published) = @_;
    return bless { published => $published, leaders_of => {}, epochs => {}, ids => {}, without_id => {}, doubts => {}, known => undef, hints => {} }, $class;
}

# Nothing is known, and that is published.
sub clear {
    my ($self) = @_;
    @{ $self->{published} }{qw(meta broker_map leaders)} = (undef, {}, {});
    $self->{$_} = {} for qw(leaders_of epochs ids without_id doubts hints);
    $self->{known} = undef;
    return;
}

# --- what others ask ------------------------------------------------------------

sub leader {
    my ($self, $topic, $partition) = @_;
    return $self->{published}{leaders}{"$topic:$partition"};
}

sub meta { return $_[0]{published}{meta} }

# The epoch of the partition's leader, -1 when the broker does not tell it.
sub leader_epoch {
    my ($self, $topic, $partition) = @_;
    my $epochs = $self->{epochs}{$topic} or return -1;
    return $epochs->[$partition] // -1;
}

# By partition, -1 where there is none now; empty for a topic that is not known.
sub leaders_of { return $_[0]{leaders_of}{ $_[1] } || [] }

sub partitions { return scalar @{ $_[0]->leaders_of($_[1]) } }

# Whether the partition, or any one of the topic, has a leader.
sub has_leader {
    my ($self, $topic, $partition) = @_;
    my $leaders = $self->{leaders_of}{$topic} or return 0;
    return ($leaders->[$partition] // -1) >= 0 if defined $partition;
    return scalar grep { $_ >= 0 } @$leaders;
}

# Whether the topic, or the partition, is there, with a leader or without.
sub is_known {
    my ($self, $topic, $partition) = @_;
    my $leaders = $self->{leaders_of}{$topic} or return 0;
    return !defined $partition || $partition < @$leaders;
}

# Whether metadata know that it is not there, or not any more.
sub is_gone {
    my ($self, $topic, $partition) = @_;
    return 0 unless $self->{published}{meta};
    my ($known) = grep { $_->{name} eq $topic } $self->_listed or return 1;
    return EV::Kafka::Error::is_unknown_topic($known->{error_code}) if $known->{error_code};
    return !grep { $_->{partition} == $partition } @{ $known->{partitions} || [] };
}

# Why the topic, or the partition, cannot be used now: one word, and a text. Nothing if it can.
sub trouble {
    my ($self, $topic, $partition) = @_;
    return if $self->has_leader($topic, $partition);
    my ($known) = grep { $_->{name} eq $topic } $self->_listed;
    my $code = $known ? $known->{error_code} || 0 : UNKNOWN_TOPIC_OR_PARTITION;
    return (unknown => "topic '$topic' is not known to the cluster" . $self->hint($topic))
        if EV::Kafka::Error::is_unknown_topic($code);
    return ($code => "topic '$topic': " . EV::Kafka::Error->of_code($code)->text) if $code;
    my $count = $self->partitions($topic);
    return (beyond => "topic '$topic' has no partition $partition, " . ($count == 1 ? 'only 0' : 'only 0 to ' . ($count - 1)))
        if defined $partition && $partition >= $count && $count;
    return (leaderless => (defined $partition ? "$topic:$partition" : "topic '$topic'") . ' has no leader now');
}

# Looked for once for each topic and answer. Of short names each is like any other.
sub hint {
    my ($self, $topic) = @_;
    return '' if length $topic < SHORTEST_HINTED;
    return $self->{hints}{$topic} //= EV::Kafka::Options::Hint::did_you_mean($topic, grep { $self->is_known($_) } map { $_->{name} } $self->_listed);
}

# By topic. A partition counts also while it has no leader.
sub partition_counts {
    my ($self) = @_;
    my %counts  = map { $_->{name} => scalar @{ $_->{partitions} || [] } } $self->_listed;
    my $leaders = $self->{published}{leaders};
    my $routed  = 0;
    $routed += grep { $_ >= 0 } @$_ for values %{ $self->{leaders_of} };
    return \%counts if $routed == keys %$leaders;
    # A program has added leaders of its own.
    for my $key (keys %$leaders) {
        my ($topic, $partition) = $key =~ /\A(.*):([0-9]+)\z/ or next;
        $counts{$topic} = $partition + 1 if $partition >= ($counts{$topic} || 0);
    }
    return \%counts;
}

# The names of those that are not Kafka's own.
sub listed_topics {
    my ($self) = @_;
    return map { $_->{name} } grep { !$_->{is_internal} && !EV::Kafka::Error::is_unknown_topic($_->{error_code} || 0) && @{ $_->{partitions} || [] } }
        $self->_listed;
}

# By topic, the { rack => 1 } of each partition's replicas, as far as brokers have racks.
sub partition_racks {
    my ($self, @topics) = @_;
    my %rack_of = map { length($_->{rack} // '') ? ($_->{node_id} => $_->{rack}) : () } @{ ($self->{published}{meta} || {})->{brokers} || [] };
    return {} unless %rack_of && @topics;
    my %is_wanted = map { $_ => 1 } @topics;
    my %racks;
    for my $topic (grep { $is_wanted{ $_->{name} } } $self->_listed) {
        my @listed = @{ $topic->{partitions} || [] };
        for my $partition (grep { $_->{partition} >= 0 && $_->{partition} < @listed + MAX_MISSING } @listed) {
            $racks{ $topic->{name} }[$partition->{partition}] = { map { $_ => 1 } grep { defined } @rack_of{ @{ $partition->{replicas} || [] } } };
        }
    }
    return \%racks;
}

# 16 bytes, undef where they are not known.
sub topic_id {
    my ($self, $topic) = @_;
    return $self->{without_id}{$topic} ? undef : $self->{ids}{$topic};
}

# Topics as requests list them, { topic, partitions }, with their topic_id where it is known.
sub with_ids {
    my ($self, $topics) = @_;
    return [map { my $id = $self->topic_id($_->{topic}); defined $id ? { %$_, topic_id => $id } : $_ } @$topics];
}

# The topic that has the id now.
sub topic_of { return $_[0]->topic_names->{ $_[1] } }

# By topic id.
sub topic_names {
    my ($self) = @_;
    return { map { $_->{topic_id} => $_->{name} } grep { defined $_->{topic_id} } $self->_listed };
}

# Their node ids; in scalar context how many there are.
sub brokers {
    my ($self) = @_;
    my @node_ids = sort { $a <=> $b } keys %{ $self->{published}{broker_map} };
    return @node_ids;
}

# { host, port }
sub broker { return $_[0]{published}{broker_map}{ $_[1] } }

# Undef as long as no broker has told it.
sub cluster_id { return ($_[0]{published}{meta} || {})->{cluster_id} }

# The node id of the one that controls the cluster, or passes on to it what is for it; undef while that is not known.
sub controller {
    my ($self) = @_;
    my $node_id = ($self->{published}{meta} || {})->{controller_id} // return undef;
    return $node_id >= 0 ? $node_id : undef;
}

# One that somebody else has named, if no answer has done so yet. Gives whether it can be reached.
sub add_broker {
    my ($self, $node_id, $host, $port) = @_;
    my $brokers = $self->{published}{broker_map};
    return 1 if $brokers->{$node_id};
    return 0 unless is_port($port);
    $brokers->{$node_id} = { host => $host, port => $port };
    return 1;
}

sub forget_brokers { $_[0]{published}{broker_map} = {}; return }

# At another port nobody can be reached.
sub is_port {
    my ($port) = @_;
    return defined $port && $port >= 0 && $port <= MAX_PORT;
}

# What is known of these, as a text to compare.
sub description_of {
    my ($self, @topics) = @_;
    return join ' ', map { ($_, @{ $self->leaders_of($_) }) } @topics;
}

# An EV::Kafka::KnownTopics.
sub known { return $_[0]{known} ||= EV::Kafka::KnownTopics->new }

sub _listed { return @{ ($_[0]{published}{meta} || {})->{topics} || [] } }

# --- taking over an answer --------------------------------------------------------

# All of it. $asked: the topics that the request named, undef when it was for all.
sub adopt {
    my ($self, $meta, $asked) = @_;
    my $adoption = $self->begin($meta, $asked);
    $self->take($adoption, @{ $meta->{topics} || [] });
    $self->end($adoption);
    return $adoption;
}

# The same of an answer that nobody has asked for. What a program has added to the answer's
# topics is forgotten, too; other topics are left alone.
sub merge {
    my ($self, $meta) = @_;
    my %fresh   = map { $_->{name} => 1 } @{ $meta->{topics} || [] };
    my $leaders = $self->{published}{leaders} ||= {};
    delete @$leaders{ grep { $fresh{ substr $_, 0, rindex $_, ':' } } keys %$leaders };
    $self->adopt($meta, [keys %fresh]);
    return;
}

# Its brokers are known before the first leader is. The taking over of one answer is
#   { head, asked, topics (what meta will have), was (topics by name), absent, recreated, doubtful,
#     is_broker, has_news }
# What somebody has asked for by name counts as news: it may be waited for.
sub begin {
    my ($self, $head, $asked) = @_;
    my @brokers  = map { $_->{node_id} } @{ $head->{brokers} || [] };
    my $has_news = $asked || join(' ', sort @brokers) ne join(' ', sort keys %{ $self->{published}{broker_map} || {} });
    $self->_adopt_brokers($head);
    return {
        head      => $head,
        asked     => $asked,
        topics    => [],
        was       => { map { ($_->{name} // '' => $_) } $self->_listed },
        absent    => { map { $_ => 1 } $asked ? @$asked : keys %{ $self->{leaders_of} } },
        recreated => [],
        doubtful  => {},
        is_broker => { map { $_ => 1 } @brokers ? @brokers : $self->brokers },
        has_news  => $has_news ? 1 : 0,
    };
}

# Some of its topics; of one that is as it was there is just the name. Gives the names of
# those whose leaders have been set.
sub take {
    my ($self, $adoption, @topics) = @_;
    my @changed;
    for my $topic (@topics) {
        if (!ref $topic) {
            delete $adoption->{absent}{$topic};
            push @{ $adoption->{topics} }, $adoption->{was}{$topic} // ();
            next;
        }
        my $name = $topic->{name} // next;
        $adoption->{has_news} = 1;
        delete $adoption->{absent}{$name};
        push @{ $adoption->{topics} }, $topic;
        if (my $answers = $self->_keep_newer_leaders($adoption, $topic)) {
            $adoption->{doubtful}{$name} = $answers;
            $self->_must_look_again($name);
        }
        push @{ $adoption->{recreated} }, $name if $self->_is_recreated($topic);
        my $was_known = $self->evict($name);
        $self->_take_topic($topic);
        push @changed, $name if $was_known || $self->{leaders_of}{$name};
    }
    return @changed;
}

# Gives the names of the topics that are gone.
sub end {
    my ($self, $adoption) = @_;
    my @gone;
    $self->{hints} = {} if $adoption->{has_news};
    for my $topic (keys %{ $adoption->{absent} }) {
        push @gone, $topic if $self->evict($topic);
        $self->_must_look_again($topic);
        $adoption->{has_news} = 1;
    }
    my @kept;
    if ($adoption->{asked}) {
        delete @{ $adoption->{was} }{ map { $_->{name} } @{ $adoption->{topics} } };
        @kept = grep { $adoption->{was}{ $_->{name} // '' } } $self->_listed;
    }
    $self->{published}{meta} = { %{ $adoption->{head} }, topics => [@kept, @{ $adoption->{topics} }] };
    return @gone;
}

# Forgets a topic's leaders. Only its own partitions are looked at: there may be many others.
sub evict {
    my ($self, $topic) = @_;
    delete $self->{epochs}{$topic};
    my $leaders = delete $self->{leaders_of}{$topic} or return 0;
    delete @{ $self->{published}{leaders} }{ map {"$topic:$_"} 0 .. $#$leaders };
    return 1;
}

# Also if the next answer says the same.
sub _must_look_again {
    my ($self, $topic) = @_;
    $self->{known}->forget($topic) if $self->{known};
    return;
}

sub _adopt_brokers {
    my ($self, $head) = @_;
    my @brokers = grep { is_port($_->{port} // 0) } @{ $head->{brokers} || [] };
    return unless @brokers;
    $self->{published}{broker_map} = { map { $_->{node_id} => { host => $_->{host}, port => $_->{port} } } @brokers };
    return;
}

sub _take_topic {
    my ($self, $topic) = @_;
    my ($name, $leaders) = ($topic->{name}, _leaders_in($topic));
    return unless @$leaders;
    $self->{leaders_of}{$name} = $leaders;
    my $known = $self->{published}{leaders} ||= {};
    $known->{"$name:$_"} = $leaders->[$_] for grep { $leaders->[$_] >= 0 } 0 .. $#$leaders;
    my @epochs;
    for my $partition (@{ $topic->{partitions} || [] }) {
        my $number = $partition->{partition};
        next if ($partition->{leader_epoch} // -1) < 0 || $number < 0 || $number > $#$leaders;
        $epochs[$number] = $partition->{leader_epoch};
    }
    $self->{epochs}{$name} = \@epochs if @epochs;
    return;
}

# Leaders by partition number, -1 where there is none now. A number that can only
# be a lie is passed over.
sub _leaders_in {
    my ($topic) = @_;
    my @listed = @{ $topic->{partitions} || [] };
    my $end    = @listed + MAX_MISSING;
    $end = MAX_PARTITIONS if $end > MAX_PARTITIONS;
    my @leaders;
    for my $partition (@listed) {
        next if $partition->{partition} < 0 || $partition->{partition} >= $end;
        $leaders[ $partition->{partition} ] = $partition->{leader};
    }
    return [map { defined && $_ >= 0 ? $_ : -1 } @leaders];
}

# Whether the topic is another one than it was under the same name (KIP-516).
sub _is_recreated {
    my ($self, $topic) = @_;
    if (!defined $topic->{topic_id}) {
        $self->{without_id}{ $topic->{name} } = 1;
        return 0;
    }
    delete $self->{without_id}{ $topic->{name} };
    my $was = $self->{ids}{ $topic->{name} };
    $self->{ids}{ $topic->{name} } = $topic->{topic_id};
    return defined $was && $was ne $topic->{topic_id};
}

# --- leaders that are not believed yet ----------------------------------------------

# A broker that lags behind names leaders from before the ones that are known
# (KIP-320). Epochs count anew when a topic is created anew, and without an epoch there is
# nothing to compare. Answers that go on to agree are believed in the end, and at once
# when the leader that is known is no broker any more. Gives the most answers of a
# partition that agree and are not believed yet.
sub _keep_newer_leaders {
    my ($self, $adoption, $topic) = @_;
    my $name = $topic->{name};
    return 0 if ($topic->{topic_id} // '') ne ($self->{ids}{$name} // '');
    my $epochs = $self->{epochs}{$name} or return 0;
    my $doubts = $self->{doubts}{$name} ||= {};
    my $most   = 0;
    for my $partition (@{ $topic->{partitions} || [] }) {
        my ($number, $epoch) = ($partition->{partition}, $partition->{leader_epoch} // -1);
        my $known = $number >= 0 ? $epochs->[$number] : undef;
        next if !defined $known || $epoch < 0;
        my $leader = $self->leader($name, $number) // -1;
        if ($epoch >= $known || $leader >= 0 && !$adoption->{is_broker}{$leader}) {
            delete $doubts->{$number};
            next;
        }
        my $answers = _answers_that_agree($doubts, $number, "$partition->{leader}:$epoch");
        next if $answers >= REWIND_ANSWERS && delete $doubts->{$number};
        @$partition{qw(leader leader_epoch)} = ($leader, $known);
        $most = $answers if $answers > $most;
    }
    delete $self->{doubts}{$name} unless %$doubts;
    return $most;
}

sub _answers_that_agree {
    my ($doubts, $partition, $said) = @_;
    my $doubt = $doubts->{$partition};
    $doubt = $doubts->{$partition} = { said => $said } unless $doubt && $doubt->{said} eq $said;
    return ++$doubt->{answers};
}

1;

__END__

=head1 NAME

EV::Kafka::Cluster::Topics - what an EV::Kafka client knows of its cluster

=head1 SYNOPSIS

    my $topics = EV::Kafka::Cluster::Topics->new(\%published);
    $topics->adopt($meta, ['orders']);
    my $node_id = $topics->leader('orders', 0);

=head1 DESCRIPTION

For L<EV::Kafka::Cluster>, not for use by itself. The brokers, the topics and the leaders of their
partitions, as answers to Metadata tell them: a leader of an epoch that is over is not believed
before several answers agree, and a topic that was created anew under its old name is another one.
C<meta>, C<broker_map> and C<leaders> lie in the hash that C<new> is given, and may be changed there.

=head1 METHODS

=head2 new(\%published), clear

The hash that has, and gets, what is published; C<clear> forgets all, there as well.

=head2 leader($topic, $partition), leader_epoch($topic, $partition), leaders_of($topic)

The node id of a partition's leader, or undef; the leader's epoch, or -1; the leaders of all of its
partitions, -1 for those without.

=head2 has_leader($topic, [$partition]), is_known($topic, [$partition]), partitions($topic)

Whether there is a leader, whether the topic or partition is there, and how many partitions are.

=head2 trouble($topic, [$partition]), hint($topic)

Why that cannot be used now, as one word and a text, or nothing; which topic may be meant instead, as the end
of a text.

=head2 meta

What answers have said so far, undef before the first.

=head2 is_gone($topic, $partition)

Whether metadata know that it is not there, or not any more.

=head2 partition_counts, topic_names, listed_topics, partition_racks(@topics), topic_id($topic), topic_of($id), with_ids(\@topics)

The numbers of partitions by topic, and the names of topics by their ids. The id of a topic, 16 bytes, or undef where brokers tell
none; the topic that has an id now, or undef. Topics as a request lists them, C<< { topic, partitions } >>, with their C<topic_id>.

=head2 cluster_id

As brokers have told it, undef before.

=head2 brokers, broker($node_id), add_broker($node_id, $host, $port), forget_brokers, controller

Node ids, and C<< { host, port } >> of one. The controller's node id. C<add_broker> takes one that no answer has named, and says whether
it can be reached.

=head2 adopt(\%meta, \@asked), merge(\%meta)

Takes an answer over: to a request for these topics (undef: for all), or one that a program has.

=head2 begin(\%head, \@asked), take($adoption, @topics), end($adoption), evict($topic)

The same in steps, for large answers. C<take> and C<end> give the names of the topics whose leaders
are others now.

=head2 known, description_of(@topics)

An EV::Kafka::KnownTopics, and a text by which to see whether anything has changed.

=head1 FUNCTIONS

=head2 is_port($port)

Whether anybody can be reached there.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Cluster>

=cut
