/*
 * The librdkafka contestant of bench/benchmark.pl: librdkafka driven from C, as its
 * documentation recommends, over the same topics, values and settings as the others.
 *
 *   rdkafka_bench SHAPE key=value... -- property=value...
 *
 * SHAPE is produce, sequential, metadata, consume, consume_batches or latency. Keys:
 *
 *   brokers, topic, messages, partitions
 *   value_size, pool   bytes of a value, and how many buffers of them there are
 *   values             a file of values in their place: for each its length (32 bits, big-endian) and its bytes
 *   rate, seconds      of latency
 *
 * Properties are librdkafka's own. Prints one line of JSON: the version, messages, wall
 * seconds, and the CPU time that this process used (all its threads, user and system)
 * between the first message and the last.
 */
#include <librdkafka/rdkafka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

struct value {
    char *bytes;
    size_t size;
};

/* Of latency: seconds that do not count, and those after the last message. */
#define WARM_UP  2
#define PATIENCE 5

/* Messages of a call of consume_batches. */
#define BATCH 1000

/* What the command line asks for. */
static struct {
    const char *shape, *brokers, *topic, *values;
    long messages, partitions, value_size, pool;
    double rate, seconds;
} run = {.partitions = 1, .pool = 1};

static struct value *values;
static long value_count;
static long delivered, failed;

static void die(const char *what, const char *why) {
    fprintf(stderr, "rdkafka_bench: %s: %s\n", what, why);
    exit(1);
}

static void die_of_last_error(const char *what) {
    die(what, rd_kafka_err2str(rd_kafka_last_error()));
}

/* --- what is measured -------------------------------------------------------- */

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

static double wall_begin, cpu_begin;

static void start_clock(void) {
    wall_begin = wall_seconds();
    cpu_begin  = cpu_seconds();
}

static void report(long messages, const char *more) {
    double wall = wall_seconds() - wall_begin, cpu = cpu_seconds() - cpu_begin;
    if (failed) {
        fprintf(stderr, "rdkafka_bench: %ld of %ld failed\n", failed, messages);
        exit(1);
    }
    printf("{\"client\":\"librdkafka %s\",\"messages\":%ld,\"wall_s\":%.6f,\"cpu_s\":%.6f%s}\n",
           rd_kafka_version_str(), messages, wall, cpu, more);
}

/* --- set-up ------------------------------------------------------------------ */

static void *allocate(size_t size) {
    void *memory = malloc(size ? size : 1);
    if (!memory) die("malloc", "out of memory");
    return memory;
}

static void read_values(const char *path) {
    FILE *file = fopen(path, "rb");
    unsigned char length[4];
    long room = 1024;
    if (!file) die(path, "cannot be read");
    values = allocate(room * sizeof *values);
    while (fread(length, 1, sizeof length, file) == sizeof length) {
        if (value_count == room && !(values = realloc(values, (room *= 2) * sizeof *values)))
            die("realloc", "out of memory");
        struct value *value = &values[value_count++];
        value->size  = (size_t)length[0] << 24 | (size_t)length[1] << 16 | (size_t)length[2] << 8 | length[3];
        value->bytes = allocate(value->size);
        if (fread(value->bytes, 1, value->size, file) != value->size) die(path, "ends within a value");
    }
    if (!value_count) die(path, "holds no value");
    fclose(file);
}

static void make_values(void) {
    value_count = run.pool;
    values      = allocate(value_count * sizeof *values);
    for (long i = 0; i < value_count; i++) {
        values[i].size  = run.value_size;
        values[i].bytes = allocate(run.value_size);
        memset(values[i].bytes, 'v', run.value_size);
    }
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

static rd_kafka_t *client(rd_kafka_type_t type, char **properties) {
    char error[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", run.brokers);
    if (type == RD_KAFKA_CONSUMER) {
        set(conf, "group.id", "rdkafka_bench");
        set(conf, "enable.auto.commit", "false");
    } else {
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    }
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

static rd_kafka_topic_t *topic_of(rd_kafka_t *rk) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, run.topic, NULL);
    if (!topic) die_of_last_error("rd_kafka_topic_new");
    return topic;
}

/* Connected and routed before the clock starts, like everybody in the race. */
static void await_metadata(rd_kafka_t *rk, rd_kafka_topic_t *topic) {
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t error = rd_kafka_metadata(rk, 0, topic, &metadata, 10000);
    if (error) die("metadata", rd_kafka_err2str(error));
    rd_kafka_metadata_destroy(metadata);
}

static int try_to_produce(rd_kafka_topic_t *topic, long number) {
    char key[24];
    size_t key_bytes   = (size_t)snprintf(key, sizeof key, "k%ld", number);
    struct value value = values[number % value_count];
    return rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY,
                            value.bytes, value.size, key, key_bytes, NULL);
}

/* Likewise connected to a leader, and with a producer id where one is needed: one message goes before. */
static rd_kafka_topic_t *warmed_up(rd_kafka_t *rk) {
    rd_kafka_topic_t *topic = topic_of(rk);
    await_metadata(rk, topic);
    if (try_to_produce(topic, 0) == -1) die_of_last_error("produce");
    while (!delivered) rd_kafka_poll(rk, 100);
    delivered = 0;
    return topic;
}

/* --- the shapes -------------------------------------------------------------- */

static void produce(char **properties) {
    rd_kafka_t *rk          = client(RD_KAFKA_PRODUCER, properties);
    rd_kafka_topic_t *topic = warmed_up(rk);
    start_clock();
    for (long i = 0; i < run.messages; i++) {
        while (try_to_produce(topic, i) == -1) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL) die_of_last_error("produce");
            rd_kafka_poll(rk, 10);
        }
        if (i % 1000 == 0) rd_kafka_poll(rk, 0);
    }
    while (delivered < run.messages) rd_kafka_poll(rk, 100);
    report(run.messages, "");
}

/* Each message after the one before it was answered. */
static void sequential(char **properties) {
    rd_kafka_t *rk          = client(RD_KAFKA_PRODUCER, properties);
    rd_kafka_topic_t *topic = warmed_up(rk);
    start_clock();
    for (long i = 0; i < run.messages; i++) {
        if (try_to_produce(topic, i) == -1) die_of_last_error("produce");
        while (delivered <= i) rd_kafka_poll(rk, 1000);
    }
    report(run.messages, "");
}

static void metadata(char **properties) {
    rd_kafka_t *rk          = client(RD_KAFKA_PRODUCER, properties);
    rd_kafka_topic_t *topic = topic_of(rk);
    await_metadata(rk, topic);
    start_clock();
    for (long i = 0; i < run.messages; i++) await_metadata(rk, topic);
    report(run.messages, "");
}

static void assign(rd_kafka_t *rk, int64_t offset) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(run.partitions);
    for (int p = 0; p < run.partitions; p++)
        rd_kafka_topic_partition_list_add(list, run.topic, p)->offset = offset;
    rd_kafka_resp_err_t error = rd_kafka_assign(rk, list);
    if (error) die("assign", rd_kafka_err2str(error));
    rd_kafka_topic_partition_list_destroy(list);
}

static long seen, seen_bytes, empty;

static void look_at(rd_kafka_message_t *message) {
    if (message->err) die("consume", rd_kafka_message_errstr(message));
    seen++;
    seen_bytes += message->len;
    if (!message->len) empty++;
    rd_kafka_message_destroy(message);
}

static void consume(char **properties, int by_batches) {
    rd_kafka_message_t *batch[BATCH];
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, properties);
    rd_kafka_poll_set_consumer(rk);
    await_metadata(rk, topic_of(rk));
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);

    start_clock();
    assign(rk, RD_KAFKA_OFFSET_BEGINNING);
    while (seen < run.messages) {
        ssize_t count = by_batches ? rd_kafka_consume_batch_queue(queue, 100, batch, BATCH)
                                   : (batch[0] = rd_kafka_consumer_poll(rk, 1000)) != NULL;
        if (count < 0) die_of_last_error("consume");
        for (ssize_t i = 0; i < count; i++) look_at(batch[i]);
    }
    failed = empty;
    report(seen, "");
    if (!seen_bytes) fprintf(stderr, "rdkafka_bench: every value was empty\n");
}

static int by_size(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

/*
 * At a rate, from produce to the same process's consumer. Each value begins with the time
 * at which it was produced; those of the first seconds do not count, since the consumer
 * may still be finding its way, nor do those of runs before.
 */
static void latency(char **properties) {
    rd_kafka_t *producer    = client(RD_KAFKA_PRODUCER, properties);
    rd_kafka_topic_t *topic = warmed_up(producer);
    rd_kafka_t *consumer    = client(RD_KAFKA_CONSUMER, properties);
    rd_kafka_poll_set_consumer(consumer);
    assign(consumer, RD_KAFKA_OFFSET_BEGINNING);

    long due = run.rate * (WARM_UP + run.seconds), counted = run.rate * run.seconds, sent = 0, got = 0;
    double *times = allocate(counted * sizeof *times);
    double first  = wall_seconds(), last = first + WARM_UP + run.seconds;
    start_clock();
    while (got < counted) {
        double now = wall_seconds();
        if (now > last + PATIENCE) break;
        for (; sent < due && now >= first + sent / run.rate; sent++) {
            snprintf(values[0].bytes, values[0].size, "%.9f", now = wall_seconds());
            if (try_to_produce(topic, sent) == -1) die_of_last_error("produce");
        }
        rd_kafka_poll(producer, 0);
        double wait = sent < due ? first + sent / run.rate - now : 0.1;
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, wait > 0 ? 1 + (int)(1000 * wait) : 0);
        if (!message) continue;
        if (message->err) die("consume", rd_kafka_message_errstr(message));
        double from = message->len >= values[0].size ? strtod(message->payload, NULL) : 0;
        now = wall_seconds();
        if (from >= first + WARM_UP && from <= now && got < counted) times[got++] = now - from;
        rd_kafka_message_destroy(message);
    }
    if (got < counted) {
        fprintf(stderr, "rdkafka_bench: %ld of %ld came\n", got, counted);
        exit(1);
    }
    char more[128];
    qsort(times, got, sizeof *times, by_size);
    snprintf(more, sizeof more, ",\"median_ms\":%.6f,\"p99_ms\":%.6f",
             1000 * times[got / 2], 1000 * times[(long)(0.99 * got)]);
    report(sent, more);
}

/* --- the command line -------------------------------------------------------- */

static void read_argument(char *argument) {
    char *value = strchr(argument, '=');
    if (!value) die(argument, "not key=value");
    *value++ = 0;
    if      (!strcmp(argument, "brokers"))    run.brokers    = value;
    else if (!strcmp(argument, "topic"))      run.topic      = value;
    else if (!strcmp(argument, "values"))     run.values     = value;
    else if (!strcmp(argument, "messages"))   run.messages   = atol(value);
    else if (!strcmp(argument, "partitions")) run.partitions = atol(value);
    else if (!strcmp(argument, "value_size")) run.value_size = atol(value);
    else if (!strcmp(argument, "pool"))       run.pool       = atol(value);
    else if (!strcmp(argument, "rate"))       run.rate       = atof(value);
    else if (!strcmp(argument, "seconds"))    run.seconds    = atof(value);
    else die(argument, "no such key");
}

int main(int argc, char **argv) {
    if (argc < 2) die("usage", "SHAPE key=value... -- property=value...");
    run.shape = argv[1];
    char **rest = argv + 2;
    while (*rest && strcmp(*rest, "--")) read_argument(*rest++);
    if (*rest) rest++;
    if (run.values) read_values(run.values);
    else            make_values();

    if      (!strcmp(run.shape, "produce"))         produce(rest);
    else if (!strcmp(run.shape, "sequential"))      sequential(rest);
    else if (!strcmp(run.shape, "metadata"))        metadata(rest);
    else if (!strcmp(run.shape, "consume"))         consume(rest, 0);
    else if (!strcmp(run.shape, "consume_batches")) consume(rest, 1);
    else if (!strcmp(run.shape, "latency"))         latency(rest);
    else die(run.shape, "no such shape");
    fflush(stdout);
    /* Tearing the client down is not measured, and its last seconds of polite
       waiting would only make a series of rounds slow. */
    _Exit(0);
}
