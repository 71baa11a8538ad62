package EV::Kafka::Assignor::Sticky;
use strict;
use warnings;

# First as even as the subscriptions allow, then as few changes as that allows.

sub sorted { return sort { $a->[0] cmp $b->[0] || $a->[1] <=> $b->[1] } @_ }

sub _key { return "$_[0][0]:$_[0][1]" }

sub assign {
    my ($members, $counts) = @_;
    my $wants = { map { my $id = $_; $id => { map { $_ => 1 } @{ $members->{$id}{topics} } } } keys %$members };
    my @all   = _partitions($wants, $counts);
    my $kept  = _valid_claims($members, $wants, { map { _key($_) => 1 } @all });
    my %is_kept = map { _key($_) => 1 } map { @$_ } values %$kept;
    my @free  = grep { !$is_kept{ _key($_) } } @all;
    return _all_want_the_same($wants)
        ? _share_equally($kept, \@free, scalar @all)
        : _share_among_some($kept, \@free, $wants);
}

# A partition that is to move from one member to another goes to nobody until
# the first one has given it up, in the rebalance after this one (KIP-429).
sub assign_cooperatively {
    my ($members, $counts) = @_;
    my $assigned = assign($members, $counts);
    my %owners;
    for my $id (keys %$members) {
        push @{ $owners{ _key($_) } }, $id for @{ $members->{$id}{owned} || [] };
    }
    for my $id (keys %$assigned) {
        $assigned->{$id} = [grep { !grep { $_ ne $id } @{ $owners{ _key($_) } || [] } } @{ $assigned->{$id} }];
    }
    return $assigned;
}

sub _partitions {
    my ($wants, $counts) = @_;
    my %wanted = map { %$_ } values %$wants;
    return map { my $topic = $_; map { [$topic, $_] } 0 .. ($counts->{$topic} || 0) - 1 } sort keys %wanted;
}

# Of several members that claim a partition the one of the latest generation is
# believed: the others have missed a rebalance. Of equals none is (KIP-341).
sub _valid_claims {
    my ($members, $wants, $exists) = @_;
    my %claims;
    for my $id (sort keys %$members) {
        my $generation = $members->{$id}{generation} // -1;
        for my $partition (@{ $members->{$id}{owned} || [] }) {
            my $key = _key($partition);
            next unless $exists->{$key} && $wants->{$id}{ $partition->[0] };
            my $best = $claims{$key};
            if (!$best || $generation > $best->{generation}) {
                $claims{$key} = { id => $id, generation => $generation, partition => $partition };
            }
            elsif ($generation == $best->{generation} && $best->{id} ne $id) {
                $best->{disputed} = 1;
            }
        }
    }
    my %kept = map { $_ => [] } keys %$members;
    push @{ $kept{ $_->{id} } }, $_->{partition} for grep { !$_->{disputed} } values %claims;
    $_ = [sorted(@$_)] for values %kept;
    return \%kept;
}

sub _all_want_the_same {
    my ($wants) = @_;
    my %lists = map { join(' ', sort keys %$_) => 1 } values %$wants;
    return keys %lists <= 1;
}

# Everybody gets the same number of partitions or one more; those that have most
# get the one more.
sub _share_equally {
    my ($kept, $free, $total) = @_;
    my @ids = sort { @{ $kept->{$b} } <=> @{ $kept->{$a} } || $a cmp $b } keys %$kept;
    return $kept unless @ids;
    my $least = int($total / @ids);
    my $more  = $total % @ids;
    my %quota = map { $ids[$_] => $least + ($_ < $more ? 1 : 0) } 0 .. $#ids;
    my @free  = @$free;
    for my $id (@ids) {
        next if @{ $kept->{$id} } <= $quota{$id};
        push @free, splice @{ $kept->{$id} }, $quota{$id};
    }
    # In turn, so that each gets of every topic.
    my @open = sort grep { @{ $kept->{$_} } < $quota{$_} } @ids;
    for my $partition (sorted(@free)) {
        my $id = shift @open;
        push @{ $kept->{$id} }, $partition;
        push @open, $id if @{ $kept->{$id} } < $quota{$id};
    }
    return $kept;
}

# With different subscriptions: what few want is given away first, each partition
# to the member with the fewest, then what is uneven is evened out.
sub _share_among_some {
    my ($kept, $free, $wants) = @_;
    my %takers;
    for my $id (sort keys %$wants) {
        push @{ $takers{$_} }, $id for keys %{ $wants->{$id} };
    }
    my @free = sort { @{ $takers{ $a->[0] } } <=> @{ $takers{ $b->[0] } } } sorted(@$free);
    my %is_claimed = map { _key($_) => 1 } map { @$_ } values %$kept;
    for my $partition (@free) {
        my ($id) = sort { @{ $kept->{$a} } <=> @{ $kept->{$b} } || $a cmp $b } @{ $takers{ $partition->[0] } };
        push @{ $kept->{$id} }, $partition;
    }
    while (1) {
        my @ids = sort { @{ $kept->{$b} } <=> @{ $kept->{$a} } || $a cmp $b } keys %$kept;
        last unless grep { _relieve($kept, $_, \%takers, \%is_claimed) } @ids;
    }
    return $kept;
}

# Moves one partition away from a member that has at least two more than another
# one that can be reached: directly, or by members that pass on one for the one
# they take. The shortest way moves the fewest.
sub _relieve {
    my ($kept, $from, $takers, $is_claimed) = @_;
    my %came = ($from => undef);
    my @queue = ($from);
    while (defined(my $id = shift @queue)) {
        my %topics = map { $_->[0] => 1 } @{ $kept->{$id} };
        for my $topic (sort keys %topics) {
            for my $next (grep { !exists $came{$_} } @{ $takers->{$topic} }) {
                $came{$next} = [$id, $topic];
                push @queue, $next;
                next if @{ $kept->{$next} } > @{ $kept->{$from} } - 2;
                _pass_along($kept, $next, \%came, $is_claimed);
                return 1;
            }
        }
    }
    return 0;
}

sub _pass_along {
    my ($kept, $to, $came, $is_claimed) = @_;
    while (my $step = $came->{$to}) {
        my ($from, $topic) = @$step;
        my $list = $kept->{$from};
        my @of_topic = grep { $list->[$_][0] eq $topic } 0 .. $#$list;
        my ($index) = ((grep { !$is_claimed->{ _key($list->[$_]) } } @of_topic), $of_topic[-1]);
        push @{ $kept->{$to} }, splice @$list, $index, 1;
        $to = $from;
    }
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Assignor::Sticky - shares partitions out evenly and moves few of them

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. Pure functions behind the
assignors C<sticky> and C<cooperative-sticky> of L<EV::Kafka::Assignor>. When all
members subscribe to the same topics, none has more than one partition more than
another, and as few partitions move as that allows. When they do not, no partition
could be moved, directly or by way of other members, from one to another that has
at least two fewer.

=head1 FUNCTIONS

=head2 assign(\%members, \%counts), assign_cooperatively(\%members, \%counts)

What C<sticky> and C<cooperative-sticky> do. The second leaves out for now what one
member is to have and another one still has.

=head2 sorted(@partitions)

By topic, then by number.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Assignor>

=cut
