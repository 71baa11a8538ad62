package Certificates;

# Certificate authorities and what they sign, made by openssl in a folder that
# goes with the object. Each certificate NAME is three files: NAME.pem,
# NAME.key (PKCS#8), and NAME.store, which is what a Kafka broker wants.

use v5.14;
use warnings;

use Carp qw(croak);
use File::Temp ();
use POSIX ();

sub new {
    my ($class) = @_;
    my $self = bless { folder => File::Temp->newdir('ev-kafka-certificates-XXXXXX', TMPDIR => 1) }, $class;
    $self->_write('index.txt', '');
    $self->_write('ca.cnf', <<"END");
[ca]
default_ca = it
[it]
database      = $self->{folder}/index.txt
new_certs_dir = $self->{folder}
default_md    = sha256
policy        = any
unique_subject = no
rand_serial   = yes
copy_extensions = copy
[any]
commonName = supplied
END
    return $self;
}

sub file { return "$_[0]{folder}/$_[1]" }

# authority($name, $alt_names): a CA certificate, which a broker may also use itself.
sub authority {
    my ($self, $name, $alt_names) = @_;
    $self->_openssl('req', '-x509', '-days', 30, '-subj', "/CN=$name", _new_key($self->file("$name.key")),
        '-addext', 'basicConstraints=critical,CA:TRUE',
        ($alt_names ? ('-addext', "subjectAltName=$alt_names") : ()), '-out', $self->file("$name.pem"));
    return $self->_store($name, $name);
}

# sign($authority, $name, $alt_names, @dates): dates are openssl's, for example
# from the past; without them it is valid for a month.
sub sign {
    my ($self, $authority, $name, $alt_names, @dates) = @_;
    my ($request, $certificate) = map { $self->file("$name.$_") } qw(csr pem);
    $self->_openssl('req', '-new', '-subj', "/CN=$name", _new_key($self->file("$name.key")),
        '-addext', 'basicConstraints=CA:FALSE',    # or openssl would make a version 1 certificate
        ($alt_names ? ('-addext', "subjectAltName=$alt_names") : ()), '-out', $request);
    $self->_openssl('ca', '-batch', '-notext', '-config', $self->file('ca.cnf'),
        '-cert', $self->file("$authority.pem"), '-keyfile', $self->file("$authority.key"),
        (@dates ? ('-startdate', $dates[0], '-enddate', $dates[1]) : ('-days', 30)),
        '-in', $request, '-out', $certificate);
    return $self->_store($name, $name, $authority);
}

sub _store {
    my ($self, $name, @chain) = @_;
    return $self->_write("$name.store", join '', map { _read($self->file($_)) } "$name.key", map { "$_.pem" } @chain);
}

sub _new_key { return ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', $_[0]) }

sub _openssl {
    my ($self, @arguments) = @_;
    my $log = $self->file('log');
    my $pid = fork // croak "fork: $!";
    if (!$pid) {
        open STDOUT, '>',  $log      or POSIX::_exit(126);
        open STDERR, '>&', \*STDOUT or POSIX::_exit(126);
        exec 'openssl', @arguments or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    croak "openssl @arguments: " . _read($log) if $?;
    return;
}

sub _write {
    my ($self, $name, $text) = @_;
    open my $out, '>', $self->file($name) or croak "$name: $!";
    print {$out} $text;
    close $out or croak "$name: $!";
    return;
}

sub _read {
    my ($file) = @_;
    open my $in, '<', $file or croak "$file: $!";
    local $/;
    return scalar readline $in;
}

1;
