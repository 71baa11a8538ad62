package TlsPeer;

# A ConnPeer of one connection behind TLS, which `openssl s_server` does for it:
# what the peer reads and writes goes through a pair of sockets to a process of
# its own. More options: certificate and key (file names), and flags => [...] for
# s_server. stop ends the process; what it had to complain about is in complaints.

use v5.14;
use warnings;

use Carp qw(croak);
use File::Temp ();
use IO::Socket::IP;
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);

use parent 'ConnPeer';

# How often to look whether the process listens, in seconds, and for how long.
use constant { INTERVAL => 0.005, PATIENCE => 30 };

sub listen {
    my ($self, %args) = @_;
    my $address = $args{address} || '127.0.0.1';
    $self->{port} = _free_port($address);
    $self->{log}  = File::Temp->new;
    socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC or croak "socketpair: $!";
    my $listen  = $address =~ /:/ ? "[$address]:$self->{port}" : "$address:$self->{port}";
    my @command = ('openssl', 's_server', '-quiet', '-accept', $listen, '-naccept', 2,
        '-cert', $args{certificate}, '-key', $args{key}, @{ $args{flags} || [] });
    $self->{pid} = fork // croak "fork: $!";
    if (!$self->{pid}) {
        open STDIN,  '<&', $theirs      or POSIX::_exit(126);
        open STDOUT, '>&', $theirs      or POSIX::_exit(126);
        open STDERR, '>&', $self->{log} or POSIX::_exit(126);
        exec @command or POSIX::_exit(127);
    }
    close $theirs;
    # The first of its two connections is the one that finds out whether it listens.
    my $tries = PATIENCE / INTERVAL;
    until (IO::Socket::IP->new(PeerHost => $address, PeerPort => $self->{port})) {
        croak "openssl s_server does not listen: ${\ $self->complaints}"
            if !--$tries || waitpid $self->{pid}, POSIX::WNOHANG();
        select undef, undef, undef, INTERVAL;
    }
    $ours->blocking(0);
    $self->talk_to($ours);
    return;
}

sub _free_port {
    my ($address) = @_;
    my $socket = IO::Socket::IP->new(LocalHost => $address, Listen => 1) or croak "listen on $address: $@";
    return $socket->sockport;
}

sub complaints {
    my ($self) = @_;
    open my $log, '<', $self->{log}->filename or croak "the log: $!";
    local $/;
    return scalar readline $log;
}

sub hang_up {
    my ($self) = @_;
    if (my $pid = delete $self->{pid}) {
        kill KILL => $pid;
        waitpid $pid, 0;
    }
    return $self->SUPER::hang_up;
}

sub reset { return $_[0]->hang_up }

1;
