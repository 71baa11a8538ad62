// The franz-go contestant of bench/benchmark.pl: the client library kgo, driven as its
// documentation recommends, over the same topics, values and settings as the others.
//
//	franz SHAPE key=value... -- setting=value...
//
// SHAPE is produce, sequential, metadata, consume or latency. Keys:
//
//	brokers, topic, messages, partitions
//	value_size, pool   bytes of a value, and how many buffers of them there are
//	values             a file of values in their place: for each its length (32 bits, big-endian) and its bytes
//	rate, seconds      of latency
//
// Settings are those of options below. Prints one line of JSON: the version, messages, wall
// seconds, and the CPU time that this process used (all its threads, user and system)
// between the first message and the last.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const library = "github.com/twmb/franz-go"

// Of latency: what does not count, and how long after the last message the end is.
const (
	warmUp   = 2 * time.Second
	patience = 5 * time.Second
)

// What the command line asks for.
type run struct {
	brokers, topic       string
	messages, partitions int
	rate, seconds        float64
	values               [][]byte
	settings             map[string]string
}

func die(what string, why any) {
	fmt.Fprintf(os.Stderr, "franz: %s: %v\n", what, why)
	os.Exit(1)
}

func must(what string, err error) {
	if err != nil {
		die(what, err)
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	must(text, err)
	return n
}

func fraction(text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	must(text, err)
	return n
}

// --- what is measured -------------------------------------------------------------

func cpu() time.Duration {
	var used syscall.Rusage
	must("getrusage", syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

type stopwatch struct {
	begin time.Time
	cpu   time.Duration
}

func startClock() stopwatch { return stopwatch{time.Now(), cpu()} }

func (watch stopwatch) report(messages int, more map[string]float64) {
	wall, used := time.Since(watch.begin), cpu()-watch.cpu
	out := map[string]any{
		"client":   "franz-go " + version() + ", " + runtime.Version(),
		"messages": messages,
		"wall_s":   wall.Seconds(),
		"cpu_s":    used.Seconds(),
	}
	for name, figure := range more {
		out[name] = figure
	}
	must("stdout", json.NewEncoder(os.Stdout).Encode(out))
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == library {
			return module.Version
		}
	}
	return "unknown"
}

// --- set-up -----------------------------------------------------------------------

func codec(name string) kgo.CompressionCodec {
	switch name {
	case "none":
		return kgo.NoCompression()
	case "gzip":
		return kgo.GzipCompression()
	case "snappy":
		return kgo.SnappyCompression()
	case "lz4":
		return kgo.Lz4Compression()
	case "zstd":
		return kgo.ZstdCompression()
	}
	die(name, "no such codec")
	panic("unreachable")
}

func trusting(file string) *tls.Config {
	certificates, err := os.ReadFile(file)
	must(file, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificates) {
		die(file, "no certificate")
	}
	return &tls.Config{RootCAs: pool}
}

// What is not set is as the library has it.
func (r *run) options() []kgo.Opt {
	options := []kgo.Opt{kgo.SeedBrokers(strings.Split(r.brokers, ",")...)}
	add := func(option kgo.Opt) { options = append(options, option) }
	for name, value := range r.settings {
		switch name {
		case "acks":
			add(kgo.RequiredAcks(map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "-1": kgo.AllISRAcks()}[value]))
		case "idempotent":
			if value == "0" {
				add(kgo.DisableIdempotentWrite())
			}
		case "in_flight":
			// An idempotent producer has its own number, which is five, too.
			if r.settings["idempotent"] == "1" {
				continue
			}
			add(kgo.MaxProduceRequestsInflightPerBroker(number(value)))
		case "linger_ms":
			add(kgo.ProducerLinger(time.Duration(number(value)) * time.Millisecond))
		case "batch_bytes":
			add(kgo.ProducerBatchMaxBytes(int32(number(value))))
		case "bound":
			add(kgo.MaxBufferedRecords(number(value)))
		case "compression":
			add(kgo.ProducerBatchCompression(codec(value)))
		case "fetch_bytes":
			add(kgo.FetchMaxBytes(int32(number(value))))
		case "tls_ca":
			add(kgo.DialTLSConfig(trusting(value)))
		default:
			die(name, "no such setting")
		}
	}
	return options
}

func (r *run) client() *kgo.Client {
	client, err := kgo.NewClient(r.options()...)
	must("client", err)
	return client
}

func (r *run) record(number int) *kgo.Record {
	return &kgo.Record{
		Topic: r.topic,
		Key:   strconv.AppendInt([]byte{'k'}, int64(number), 10),
		Value: r.values[number%len(r.values)],
	}
}

// Connected and routed before the clock starts, and with a producer id where one is
// needed, like everybody in the race: one message goes before.
func (r *run) producer(ctx context.Context) *kgo.Client {
	client := r.client()
	must("produce", client.ProduceSync(ctx, r.record(0)).FirstErr())
	return client
}

// --- the shapes -------------------------------------------------------------------

func (r *run) produce(ctx context.Context) {
	client := r.producer(ctx)
	var delivered, failed atomic.Int64
	done := make(chan struct{})
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.Add(1)
		}
		if delivered.Add(1) == int64(r.messages) {
			close(done)
		}
	}
	watch := startClock()
	for i := range r.messages {
		client.Produce(ctx, r.record(i), promise)
	}
	<-done
	watch.report(r.messages, nil)
	if n := failed.Load(); n > 0 {
		die("produce", fmt.Sprint(n, " failed"))
	}
}

// Each message after the one before it was answered.
func (r *run) sequential(ctx context.Context) {
	client := r.producer(ctx)
	watch := startClock()
	for i := range r.messages {
		must("produce", client.ProduceSync(ctx, r.record(i)).FirstErr())
	}
	watch.report(r.messages, nil)
}

func (r *run) metadata(ctx context.Context) {
	client := r.client()
	ask := func() {
		request := kmsg.NewPtrMetadataRequest()
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(r.topic)
		request.Topics = append(request.Topics, topic)
		_, err := request.RequestWith(ctx, client)
		must("metadata", err)
	}
	ask()
	watch := startClock()
	for range r.messages {
		ask()
	}
	watch.report(r.messages, nil)
}

func (r *run) assign(client *kgo.Client, offset kgo.Offset) {
	partitions := map[int32]kgo.Offset{}
	for p := range r.partitions {
		partitions[int32(p)] = offset
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: partitions})
}

func poll(ctx context.Context, client *kgo.Client) kgo.Fetches {
	fetches := client.PollFetches(ctx)
	for _, failure := range fetches.Errors() {
		if ctx.Err() == nil {
			die("consume", failure.Err)
		}
	}
	return fetches
}

func (r *run) consume(ctx context.Context) {
	client := r.client()
	must("connect", client.Ping(ctx))
	seen, size, empty := 0, 0, 0
	watch := startClock()
	r.assign(client, kgo.NewOffset().AtStart())
	for seen < r.messages {
		poll(ctx, client).EachRecord(func(record *kgo.Record) {
			seen++
			size += len(record.Value)
			if len(record.Value) == 0 {
				empty++
			}
		})
	}
	watch.report(seen, nil)
	if empty > 0 {
		die("consume", fmt.Sprint(empty, " of ", seen, " values were empty"))
	}
}

// At a rate, from Produce to the same process's consumer. Each value begins with the time
// at which it was produced; those of the first seconds do not count, since the consumer
// may still be finding its way, nor do those of runs before.
func (r *run) latency(ctx context.Context) {
	producer, consumer := r.producer(ctx), r.client()
	r.assign(consumer, kgo.NewOffset().AtStart())
	padding := r.values[0]
	due, counted := int(r.rate*(warmUp.Seconds()+r.seconds)), int(r.rate*r.seconds)
	times := make([]float64, 0, counted)
	first := time.Now()
	counting := first.Add(warmUp).UnixNano()
	ctx, cancel := context.WithDeadline(ctx, first.Add(warmUp+time.Duration(r.seconds*float64(time.Second))+patience))
	defer cancel()
	watch := startClock()
	go func() {
		for i := range due {
			time.Sleep(time.Until(first.Add(time.Duration(float64(i) / r.rate * float64(time.Second)))))
			record := r.record(i)
			record.Value = bytes.Clone(padding)
			binary.BigEndian.PutUint64(record.Value, uint64(time.Now().UnixNano()))
			producer.Produce(ctx, record, func(_ *kgo.Record, err error) { must("produce", err) })
		}
	}()
	for len(times) < counted && ctx.Err() == nil {
		poll(ctx, consumer).EachRecord(func(record *kgo.Record) {
			if len(record.Value) < len(padding) {
				return
			}
			from, now := int64(binary.BigEndian.Uint64(record.Value)), time.Now().UnixNano()
			if from >= counting && from <= now {
				times = append(times, time.Duration(now-from).Seconds())
			}
		})
	}
	if len(times) < counted {
		die("latency", fmt.Sprint(len(times), " of ", counted, " came"))
	}
	slices.Sort(times)
	watch.report(due, map[string]float64{
		"median_ms": 1000 * times[len(times)/2],
		"p99_ms":    1000 * times[len(times)*99/100],
	})
}

// --- the command line -------------------------------------------------------------

func readValues(file string) (values [][]byte) {
	all, err := os.ReadFile(file)
	must(file, err)
	for len(all) >= 4 {
		size := int(binary.BigEndian.Uint32(all))
		if len(all) < 4+size {
			die(file, "ends within a value")
		}
		values, all = append(values, all[4:4+size]), all[4+size:]
	}
	if len(values) == 0 {
		die(file, "holds no value")
	}
	return values
}

func makeValues(size, count int) (values [][]byte) {
	for range count {
		values = append(values, bytes.Repeat([]byte{'v'}, size))
	}
	return values
}

func read(arguments []string) *run {
	r := &run{partitions: 1, settings: map[string]string{}}
	size, pool, file, into := 0, 1, "", map[string]string(nil)
	for _, argument := range arguments {
		if argument == "--" {
			into = r.settings
			continue
		}
		name, value, ok := strings.Cut(argument, "=")
		if !ok {
			die(argument, "not key=value")
		}
		if into != nil {
			into[name] = value
			continue
		}
		switch name {
		case "brokers":
			r.brokers = value
		case "topic":
			r.topic = value
		case "messages":
			r.messages = number(value)
		case "partitions":
			r.partitions = number(value)
		case "value_size":
			size = number(value)
		case "pool":
			pool = number(value)
		case "values":
			file = value
		case "rate":
			r.rate = fraction(value)
		case "seconds":
			r.seconds = fraction(value)
		default:
			die(name, "no such key")
		}
	}
	if file != "" {
		r.values = readValues(file)
	} else {
		r.values = makeValues(size, pool)
	}
	return r
}

func main() {
	if len(os.Args) < 2 {
		die("usage", "SHAPE key=value... -- setting=value...")
	}
	r, ctx := read(os.Args[2:]), context.Background()
	shapes := map[string]func(context.Context){
		"produce":    r.produce,
		"sequential": r.sequential,
		"metadata":   r.metadata,
		"consume":    r.consume,
		"latency":    r.latency,
	}
	shape := shapes[os.Args[1]]
	if shape == nil {
		die(os.Args[1], "no such shape")
	}
	shape(ctx)
}
