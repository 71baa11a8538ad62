package KafkaJars;

# Apache Kafka's programs, any version from 0.10.2 on: fetched by Maven into
# .cache, once for this checkout, and run by Java 17.

use v5.14;
use warnings;

use Cwd            qw(abs_path);
use Exporter       qw(import);
use Fcntl          qw(LOCK_EX);
use File::Basename qw(dirname);
use File::Path     qw(make_path remove_tree);

our @EXPORT_OK = qw(at_least class_name fetch java_command read_file spawn write_file);

my $CHECKOUT = abs_path(dirname(__FILE__) . '/../..');

# Repositories refuse now and then when very many files are asked for.
my $TRIES = 3;

# at_least($version, $least) -> whether the first is that version or a later one.
sub at_least {
    my ($version, $least) = map { [split /\./] } @_;
    for my $part (@$least) {
        my $difference = (shift @$version // 0) <=> $part;
        return $difference > 0 if $difference;
    }
    return 1;
}

# fetch($version) -> folder with that version's jars, from Maven unless there.
sub fetch {
    my ($version) = @_;
    $version =~ /^\d+\.\d+\.\d+(?:\.\d+)?$/ or die "not a Kafka version: $version\n";
    my $home = "$CHECKOUT/.cache/kafka-$version";
    return "$home/lib" if -d "$home/lib";
    make_path($home);
    open my $lock, '>', "$home/lock" or die "$home/lock: $!\n";
    flock $lock, LOCK_EX or die "$home/lock: $!\n";
    return "$home/lib" if -d "$home/lib";    # another process was faster

    _need(mvn => 'maven', 'fetches Apache Kafka');
    print STDERR "fetching Apache Kafka $version (54 MB, once) ...\n";
    write_file("$home/pom.xml",          _pom($version));
    write_file("$home/log4j.properties", _log4j());
    remove_tree("$home/lib.part");
    for my $try (1 .. $TRIES) {
        waitpid spawn("$home/mvn.log", 'mvn', '-q', '-B', '-f', "$home/pom.xml",
            'dependency:copy-dependencies', "-DoutputDirectory=$home/lib.part"), 0;
        last unless $?;
        die "mvn could not fetch Apache Kafka $version:\n", read_file("$home/mvn.log") if $try == $TRIES;
    }
    unlink glob "$home/lib.part/slf4j-{reload4j,log4j12}-*";    # before 4.0 a second binding comes along
    rename "$home/lib.part", "$home/lib" or die "$home/lib: $!\n";
    return "$home/lib";
}

# java_command($version, $class_or_file, @arguments) -> list for system/exec.
# Kafka's tools may be named without their package.
sub java_command {
    my ($version, $class, @arguments) = @_;
    my $library = fetch($version);
    $class = class_name($version, $class) if $class =~ /^[A-Z]\w*$/;
    _need(java => 'default-jre-headless', 'runs Apache Kafka');
    return ('java', '-Dorg.slf4j.simpleLogger.defaultLogLevel=error',
        "-Dlog4j.configuration=file:$library/../log4j.properties",
        '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xshare:auto',
        '-cp', "$library/*", $class, @arguments);
}

# Where the tools have been from one version to the other, newest first.
my @PACKAGES = qw(org.apache.kafka.tools org.apache.kafka.tools.consumer
    org.apache.kafka.tools.consumer.group org.apache.kafka.tools.reassign kafka.tools kafka.admin);

# class_name($version, $class) -> a tool's name with its package: a jar's directory has
# the names of its files uncompressed.
sub class_name {
    my ($version, $class) = @_;
    my $library = fetch($version);
    my $names = join '', map { read_file($_) } glob "$library/kafka{-tools-,_2}*.jar";
    my ($package) = grep { index($names, tr{.}{/}r . "/$class.class") >= 0 } @PACKAGES;
    return defined $package ? "$package.$class" : die "no tool $class in $library\n";
}

# For Java 17: Kafka before 1.0 needs javax.xml.bind, which Java 11 has dropped, and the
# ZooKeeper of 2.0 to 2.3 (3.4.13, 3.4.14) cannot connect from Java 14 on, while 3.4.10 can.
sub _pom {
    my ($version) = @_;
    my $dependencies = join '', map {
        my ($group, $artifact, $v) = @$_;
        "    <dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$v</version></dependency>\n"
    } (
        ['org.apache.kafka', at_least($version, '2.5') ? 'kafka_2.13' : 'kafka_2.12', $version],
        ['org.apache.kafka', 'kafka-tools', $version],
        ['org.slf4j', 'slf4j-simple', '1.7.36'],    # the brokers bind slf4j 1.7
        at_least($version, '1.0') ? () : ['javax.xml.bind', 'jaxb-api', '2.3.1'],
        at_least($version, '2.0') && !at_least($version, '2.4') ? ['org.apache.zookeeper', 'zookeeper', '3.4.10'] : (),
    );
    return <<"XML";
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
$dependencies  </dependencies>
</project>
XML
}

# Kafka before 4.0 writes some of its log by log4j 1, past slf4j; the level is the same.
sub _log4j {
    return <<'PROPERTIES';
log4j.rootLogger=${org.slf4j.simpleLogger.defaultLogLevel}, stderr
log4j.appender.stderr=org.apache.log4j.ConsoleAppender
log4j.appender.stderr.Target=System.err
log4j.appender.stderr.layout=org.apache.log4j.PatternLayout
log4j.appender.stderr.layout.ConversionPattern=%p %c - %m%n
PROPERTIES
}

# spawn($log, @command) -> pid: in a session of its own, with its output in a file.
sub spawn {
    my ($log, @command) = @_;
    require POSIX;
    my $pid = fork // die "fork: $!\n";
    return $pid if $pid;
    POSIX::setsid();
    open STDIN,  '<',  '/dev/null';
    open STDOUT, '>>', $log or POSIX::_exit(126);
    open STDERR, '>&', \*STDOUT;
    { no warnings 'exec'; exec { $command[0] } @command }
    print STDERR "$command[0]: $!\n";
    POSIX::_exit(127);
}

# _need($program, $package, $why): dies when there is no such program.
sub _need {
    my ($program, $package, $why) = @_;
    return if grep { -x "$_/$program" } split /:/, $ENV{PATH};
    die "$program is missing: it $why. On Debian: apt-get install $package\n";
}

# read_file($file) -> its bytes, or undef.
sub read_file {
    my ($file) = @_;
    open my $in, '<:raw', $file or return undef;
    local $/;
    return scalar readline $in;
}

sub write_file {
    my ($file, $text) = @_;
    open my $out, '>', $file or die "$file: $!\n";
    print {$out} $text;
    close $out or die "$file: $!\n";
    return;
}

1;
