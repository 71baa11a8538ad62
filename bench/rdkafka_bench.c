/*
 * The yardstick of bench/benchmark.pl: librdkafka driven from C, as its
 * documentation recommends, over the same topic and settings.
 *
 *   rdkafka_bench produce    BROKERS TOPIC COUNT VALUE_BYTES [property=value]...
 *   rdkafka_bench sequential BROKERS TOPIC COUNT VALUE_BYTES [property=value]...
 *   rdkafka_bench metadata   BROKERS TOPIC COUNT 0           [property=value]...
 *   rdkafka_bench consume    BROKERS TOPIC COUNT PARTITIONS  [property=value]...
 *
 * Prints one line of JSON: messages, wall seconds, and the CPU that this
 * process used (all its threads, user and system) between the first message
 * and the last. Properties are librdkafka's own, given after its defaults.
 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static long delivered, failed;

static void die(const char *what, const char *why) {
    fprintf(stderr, "rdkafka_bench: %s: %s\n", what, why);
    exit(1);
}

static double wall_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static double cpu_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_utime.tv_usec / 1e6
         + used.ru_stime.tv_sec + used.ru_stime.tv_usec / 1e6;
}

static void report(long messages, double wall, double cpu) {
    printf("{\"messages\":%ld,\"failed\":%ld,\"wall_s\":%.6f,\"cpu_s\":%.6f,\"librdkafka\":\"%s\"}\n",
           messages, failed, wall, cpu, rd_kafka_version_str());
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
    (void)rk;
    (void)opaque;
    if (message->err) failed++;
    delivered++;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char error[512];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK)
        die(name, error);
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf, char **properties) {
    char error[512];
    for (; *properties; properties++) {
        char *equals = strchr(*properties, '=');
        if (!equals) die(*properties, "not property=value");
        *equals = 0;
        set(conf, *properties, equals + 1);
        *equals = '=';
    }
    rd_kafka_t *rk = rd_kafka_new(type, conf, error, sizeof error);
    if (!rk) die("rd_kafka_new", error);
    return rk;
}

/* Connected and routed before the clock starts, like the other side of the race. */
static void await_metadata(rd_kafka_t *rk, rd_kafka_topic_t *topic) {
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t error = rd_kafka_metadata(rk, 0, topic, &metadata, 10000);
    if (error) die("metadata", rd_kafka_err2str(error));
    rd_kafka_metadata_destroy(metadata);
}

/* Likewise connected to a leader, and with a producer id where one is needed: one message goes before. */
static void warm_up(rd_kafka_t *rk, rd_kafka_topic_t *topic) {
    await_metadata(rk, topic);
    if (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, "warm", 4, "k", 1, NULL) == -1)
        die("produce", rd_kafka_err2str(rd_kafka_last_error()));
    while (!delivered) rd_kafka_poll(rk, 100);
    delivered = 0;
}

static void produce(const char *topic_name, long count, size_t value_bytes, rd_kafka_t *rk) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, topic_name, NULL);
    if (!topic) die("rd_kafka_topic_new", rd_kafka_err2str(rd_kafka_last_error()));
    char *value = malloc(value_bytes ? value_bytes : 1);
    memset(value, 'v', value_bytes);
    warm_up(rk, topic);

    double wall = wall_seconds(), cpu = cpu_seconds();
    for (long i = 0; i < count; i++) {
        char key[24];
        size_t key_bytes = (size_t)snprintf(key, sizeof key, "k%ld", i);
        while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY,
                                value, value_bytes, key, key_bytes, NULL) == -1) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                die("produce", rd_kafka_err2str(rd_kafka_last_error()));
            rd_kafka_poll(rk, 10);
        }
        if (i % 1000 == 0) rd_kafka_poll(rk, 0);
    }
    while (delivered < count) rd_kafka_poll(rk, 100);
    report(count, wall_seconds() - wall, cpu_seconds() - cpu);

    rd_kafka_topic_destroy(topic);
    free(value);
}

/* Each message after the one before it was answered. */
static void sequential(const char *topic_name, long count, size_t value_bytes, rd_kafka_t *rk) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, topic_name, NULL);
    if (!topic) die("rd_kafka_topic_new", rd_kafka_err2str(rd_kafka_last_error()));
    char *value = malloc(value_bytes ? value_bytes : 1);
    memset(value, 'v', value_bytes);
    warm_up(rk, topic);

    double wall = wall_seconds(), cpu = cpu_seconds();
    for (long i = 0; i < count; i++) {
        char key[24];
        size_t key_bytes = (size_t)snprintf(key, sizeof key, "k%ld", i);
        if (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY,
                             value, value_bytes, key, key_bytes, NULL) == -1)
            die("produce", rd_kafka_err2str(rd_kafka_last_error()));
        while (delivered <= i) rd_kafka_poll(rk, 1000);
    }
    report(count, wall_seconds() - wall, cpu_seconds() - cpu);

    rd_kafka_topic_destroy(topic);
    free(value);
}

static void metadata(const char *topic_name, long count, rd_kafka_t *rk) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, topic_name, NULL);
    if (!topic) die("rd_kafka_topic_new", rd_kafka_err2str(rd_kafka_last_error()));
    await_metadata(rk, topic);

    double wall = wall_seconds(), cpu = cpu_seconds();
    for (long i = 0; i < count; i++) await_metadata(rk, topic);
    report(count, wall_seconds() - wall, cpu_seconds() - cpu);
    rd_kafka_topic_destroy(topic);
}

static void consume(const char *topic_name, long count, int partitions, rd_kafka_t *rk) {
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int p = 0; p < partitions; p++)
        rd_kafka_topic_partition_list_add(list, topic_name, p)->offset = RD_KAFKA_OFFSET_BEGINNING;

    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, topic_name, NULL);
    if (!topic) die("rd_kafka_topic_new", rd_kafka_err2str(rd_kafka_last_error()));
    await_metadata(rk, topic);

    double wall = wall_seconds(), cpu = cpu_seconds();
    rd_kafka_resp_err_t error = rd_kafka_assign(rk, list);
    if (error) die("assign", rd_kafka_err2str(error));
    long got = 0;
    size_t bytes = 0;
    double last = wall;
    while (got < count) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 1000);
        if (!message) {
            if (wall_seconds() - last > 30) die("consume", "nothing for 30 s");
            continue;
        }
        if (message->err) die("consume", rd_kafka_message_errstr(message));
        got++;
        bytes += message->len;
        if (got % 10000 == 0) last = wall_seconds();
        rd_kafka_message_destroy(message);
    }
    report(got, wall_seconds() - wall, cpu_seconds() - cpu);
    if (bytes == 0) fprintf(stderr, "rdkafka_bench: every value was empty\n");

    rd_kafka_topic_destroy(topic);
    rd_kafka_topic_partition_list_destroy(list);
}

int main(int argc, char **argv) {
    if (argc < 6) die("usage", "MODE BROKERS TOPIC COUNT BYTES|PARTITIONS [property=value]...");
    const char *mode = argv[1], *topic = argv[3];
    long count = atol(argv[4]), size = atol(argv[5]);
    int consuming = !strcmp(mode, "consume");
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", argv[2]);
    if (consuming) {
        set(conf, "group.id", "rdkafka_bench");
        set(conf, "enable.auto.commit", "false");
    } else {
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    }
    rd_kafka_t *rk = client(consuming ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, conf, argv + 6);
    if (consuming)
        consume(topic, count, (int)size, rk);
    else if (!strcmp(mode, "produce"))
        produce(topic, count, (size_t)size, rk);
    else if (!strcmp(mode, "sequential"))
        sequential(topic, count, (size_t)size, rk);
    else if (!strcmp(mode, "metadata"))
        metadata(topic, count, rk);
    else
        die(mode, "no such mode");
    fflush(stdout);
    /* Tearing the client down is not measured, and its last seconds of polite
       waiting would only make a series of rounds slow. */
    _Exit(failed ? 1 : 0);
}
