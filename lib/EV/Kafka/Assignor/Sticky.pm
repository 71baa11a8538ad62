package EV::Kafka::Assignor::Sticky;
use strict;
use warnings;

use EV::Kafka::Assignor::Racks;

# First as even as the subscriptions allow, then near to the members that have racks (KIP-881), then as few changes as
# that allows.

sub sorted { return sort { $a->[0] cmp $b->[0] || $a->[1] <=> $b->[1] } @_ }

sub _key { return "$_[0][0]:$_[0][1]" }

sub assign {
    my ($members, $counts, $racks, $is_cooperative) = @_;
    my $wants = { map { my $id = $_; $id => { map { $_ => 1 } @{ $members->{$id}{topics} } } } keys %$members };
    my @all   = _partitions($wants, $counts);
    my $near  = EV::Kafka::Assignor::Racks->new($members, $racks || {}, keys %$counts);
    my $kept  = _valid_claims($members, $wants, { map { _key($_) => 1 } @all });
    my $alike = _all_want_the_same($wants);
    my $far   = $alike ? _give_up_far($kept, $near) : {};
    my %is_kept = map { _key($_) => 1 } map { @$_ } values %$kept;
    my @free  = grep { !$is_kept{ _key($_) } } @all;
    return $alike
        ? _share_equally($kept, \@free, scalar @all, $near, $far)
        : _share_among_some($kept, \@free, $wants, $near, $is_cooperative);
}

# What somebody else may be nearer to; who had it, by its key.
sub _give_up_far {
    my ($kept, $near) = @_;
    my %far;
    return \%far unless $near->is_used;
    for my $id (keys %$kept) {
        $far{ _key($_) } = $id for grep { !$near->is_near($id, @$_) } @{ $kept->{$id} };
        $kept->{$id} = [grep { $near->is_near($id, @$_) } @{ $kept->{$id} }];
    }
    return \%far;
}

# A partition that is to move from one member to another goes to nobody until
# the first one has given it up, in the rebalance after this one (KIP-429).
sub assign_cooperatively {
    my ($members, $counts, $racks) = @_;
    my $assigned = assign($members, $counts, $racks, 1);
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
    my ($kept, $free, $total, $near, $far) = @_;
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
    return _share_near($kept, \@free, $least, $more, $near, $far) if $near->is_used;
    # In turn, so that each gets of every topic.
    my @open = sort grep { @{ $kept->{$_} } < $quota{$_} } @ids;
    for my $partition (sorted(@free)) {
        my $id = shift @open;
        push @{ $kept->{$id} }, $partition;
        push @open, $id if @{ $kept->{$id} } < $quota{$id};
    }
    return $kept;
}

# The same where racks count: those who are near get one more rather than others. First what few are near to;
# what nobody is near to who has room stays where it was, if there is room.
sub _share_near {
    my ($kept, $free, $least, $more, $near, $far) = @_;
    my @ids = sort keys %$kept;
    $more -= grep { @{ $kept->{$_} } > $least } @ids;
    my $give = sub {
        my ($partition, @takers) = @_;
        my ($id) = sort { @{ $kept->{$a} } <=> @{ $kept->{$b} } || $a cmp $b }
            grep { @{ $kept->{$_} } < $least || @{ $kept->{$_} } == $least && $more > 0 } @takers;
        return 0 unless defined $id;
        push @{ $kept->{$id} }, $partition;
        $more-- if @{ $kept->{$id} } > $least;
        return 1;
    };
    my %takers  = map { my $partition = $_; _key($partition) => [grep { $near->is_at_home($_, @$partition) } @ids] } @$free;
    my @rarest  = sort { @{ $takers{ _key($a) } } <=> @{ $takers{ _key($b) } } } sorted(@$free);
    my @left    = sorted(grep { !$give->($_, @{ $takers{ _key($_) } }) } @rarest);
    my @nobodys = grep { !$give->($_, $far->{ _key($_) } // ()) } @left;
    $give->($_, @ids) for @nobodys;
    return $kept;
}

# With different subscriptions: what few want is given away first, each partition
# to the member with the fewest, then what is uneven is evened out.
sub _share_among_some {
    my ($kept, $free, $wants, $near, $is_cooperative) = @_;
    my %takers;
    for my $id (sort keys %$wants) {
        push @{ $takers{$_} }, $id for keys %{ $wants->{$id} };
    }
    my @free = sort { @{ $takers{ $a->[0] } } <=> @{ $takers{ $b->[0] } } } sorted(@$free);
    my %is_claimed = map { _key($_) => 1 } map { @$_ } values %$kept;
    for my $partition (@free) {
        my %is_near = map { $_ => $near->is_at_home($_, @$partition) ? 1 : 0 } @{ $takers{ $partition->[0] } };
        my ($id) = sort { @{ $kept->{$a} } <=> @{ $kept->{$b} } || $is_near{$b} <=> $is_near{$a} || $a cmp $b } keys %is_near;
        push @{ $kept->{$id} }, $partition;
    }
    # Each step evens out more, or brings nearer and evens out as much: it comes to rest, and what has been so stays. With
    # what moves in two rebalances that would not be so: there only what nobody has is brought nearer.
    my $may_move = $is_cooperative ? sub { !$is_claimed{ _key($_[0]) } } : sub { 1 };
    do {
        1 while grep { _relieve($kept, $_, \%takers, \%is_claimed, $near) }
            sort { @{ $kept->{$b} } <=> @{ $kept->{$a} } || $a cmp $b } keys %$kept;
    } while $near->is_used && _bring_nearer($kept, \%takers, $wants, $near, $may_move);
    return $kept;
}

# Whether anything could be given to a member that is nearer and has fewer, or for something else.
sub _bring_nearer {
    my ($kept, $takers, $wants, $near, $may_move) = @_;
    my $moves = 0;
    for my $id (sort keys %$kept) {
        for my $partition (grep { !$near->is_near($id, @$_) && $may_move->($_) } sorted(@{ $kept->{$id} })) {
            for my $other (grep { $near->is_at_home($_, @$partition) } @{ $takers->{ $partition->[0] } }) {
                my $back = @{ $kept->{$other} } < @{ $kept->{$id} } ? undef : _for_which($kept, $id, $other, $wants, $near, $may_move) // next;
                _move($kept, $partition, $id => $other);
                _move($kept, $back, $other => $id) if $back;
                $moves++;
                last;
            }
        }
    }
    return $moves;
}

# What the other one has and is as far from, or the member is near to as well.
sub _for_which {
    my ($kept, $id, $other, $wants, $near, $may_move) = @_;
    my ($back) = grep { $wants->{$id}{ $_->[0] } && $may_move->($_) && (!$near->is_near($other, @$_) || $near->is_near($id, @$_)) } sorted(@{ $kept->{$other} });
    return $back;
}

sub _move {
    my ($kept, $partition, $from, $to) = @_;
    my $key = _key($partition);
    $kept->{$from} = [grep { _key($_) ne $key } @{ $kept->{$from} }];
    push @{ $kept->{$to} }, $partition;
    return;
}

# Moves one partition away from a member that has at least two more than another
# one that can be reached: directly, or by members that pass on one for the one
# they take. The shortest way moves the fewest.
sub _relieve {
    my ($kept, $from, $takers, $is_claimed, $near) = @_;
    my %came = ($from => undef);
    my @queue = ($from);
    while (defined(my $id = shift @queue)) {
        my %topics = map { $_->[0] => 1 } @{ $kept->{$id} };
        for my $topic (sort keys %topics) {
            for my $next (grep { !exists $came{$_} } @{ $takers->{$topic} }) {
                $came{$next} = [$id, $topic];
                push @queue, $next;
                next if @{ $kept->{$next} } > @{ $kept->{$from} } - 2;
                _pass_along($kept, $next, \%came, $is_claimed, $near);
                return 1;
            }
        }
    }
    return 0;
}

sub _pass_along {
    my ($kept, $to, $came, $is_claimed, $near) = @_;
    while (my $step = $came->{$to}) {
        my ($from, $topic) = @$step;
        my $list = $kept->{$from};
        my @of_topic = grep { $list->[$_][0] eq $topic } 0 .. $#$list;
        my @near     = grep { !$near->is_used || $near->is_near($to, @{ $list->[$_] }) } @of_topic;
        my ($index) = ((map { grep { !$is_claimed->{ _key($list->[$_]) } } @$_ } \@near, \@of_topic), @near ? $near[-1] : $of_topic[-1]);
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

=head2 assign(\%members, \%counts, [\%racks]), assign_cooperatively(\%members, \%counts, [\%racks])

What C<sticky> and C<cooperative-sticky> do. The second leaves out for now what one
member is to have and another one still has.

=head2 sorted(@partitions)

By topic, then by number.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Assignor>

=cut
