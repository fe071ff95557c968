// franz-go in the comparison: one process, one run, one line of JSON, as the Rust clients print it.
//
// Throughput: Client.Produce from one goroutine, acknowledgements counted in the promise. The
// client's own bound (MaxBufferedRecords) makes Produce wait.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/bits"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	bootstrap  = flag.String("bootstrap", "", "host:port")
	topic      = flag.String("topic", "compare", "topic")
	mode       = flag.String("mode", "throughput", "throughput, rtt or open-loop")
	records    = flag.Uint64("records", 1000000, "records, the warm-up included")
	warmUp     = flag.Uint64("warm-up", 100000, "records before the figures start")
	rate       = flag.Uint64("rate", 100000, "records a second (open-loop)")
	duration   = flag.Uint64("duration", 10, "seconds (open-loop)")
	size       = flag.Int("size", 100, "bytes of a value")
	partitions = flag.Int("partitions", 10, "partitions of the topic")
	batchSize  = flag.Int("batch-size", 0, "ProducerBatchMaxBytes; 0 is the default")
	linger     = flag.Int("linger", 5, "ProducerLinger in ms")
	buffered   = flag.Int("max-buffered", 0, "MaxBufferedRecords; 0 is the default")
)

// Buckets are at most 1/128 of their value wide, as compare-measure's are.
const steps = 128
const stepBits = 7

// latencies of the records that were due after the warm-up.
type latencies struct {
	buckets [(64 - stepBits + 1) * steps]atomic.Uint64
	largest atomic.Int64
	last    atomic.Int64
	from    int64
}

var start = time.Now()

// now is nanoseconds of the monotonic clock since the start.
func now() int64 { return int64(time.Since(start)) }

func (l *latencies) ends(due int64) {
	if due < l.from {
		return
	}
	end := now()
	value := uint64(max(end-due, 0))
	index := value
	if value >= steps {
		shift := uint(bits.Len64(value)) - 1 - stepBits
		index = uint64(shift+1)*steps + value>>shift - steps
	}
	l.buckets[index].Add(1)
	raise(&l.largest, int64(value))
	raise(&l.last, end)
}

func raise(to *atomic.Int64, value int64) {
	for {
		old := to.Load()
		if old >= value || to.CompareAndSwap(old, value) {
			return
		}
	}
}

func upperEdge(bucket uint64) uint64 {
	if bucket < steps {
		return bucket
	}
	shift := bucket/steps - 1
	return (bucket%steps+steps+1)<<shift - 1
}

func (l *latencies) summary(offered uint64) map[string]any {
	var count uint64
	for i := range l.buckets {
		count += l.buckets[i].Load()
	}
	at := func(share float64) float64 {
		rank := uint64(share*float64(count) + 0.999999)
		var seen uint64
		for i := range l.buckets {
			seen += l.buckets[i].Load()
			if seen >= max(rank, 1) {
				return float64(min(upperEdge(uint64(i)), uint64(l.largest.Load()))) / 1e3
			}
		}
		return 0
	}
	achieved := float64(count) / (float64(l.last.Load()-l.from) / 1e9)
	found := map[string]any{
		"count": count, "p50_us": at(0.5), "p90_us": at(0.9), "p99_us": at(0.99),
		"p999_us": at(0.999), "p9999_us": at(0.9999), "max_us": float64(l.largest.Load()) / 1e3,
		"offered_per_sec": nil, "achieved_per_sec": achieved, "behind": false,
	}
	if offered > 0 {
		found["offered_per_sec"] = offered
		found["behind"] = achieved < float64(offered)*0.995
	}
	return found
}

func processCPU() (user, system time.Duration) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		fail(err)
	}
	return time.Duration(usage.Utime.Nano()), time.Duration(usage.Stime.Nano())
}

func residentMax() uint64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fail(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmHWM:" {
			kib, _ := strconv.ParseUint(fields[1], 10, 64)
			return kib * 1024
		}
	}
	return 0
}

func fail(err any) {
	fmt.Fprintln(os.Stderr, "franz-go:", err)
	os.Exit(1)
}

func version() string {
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, module := range build.Deps {
			if module.Path == "github.com/twmb/franz-go" {
				return strings.TrimPrefix(module.Version, "v") + " (" + build.GoVersion + ")"
			}
		}
	}
	return "unknown"
}

type run struct {
	client *kgo.Client
	value  []byte
	acked  atomic.Uint64
}

func (r *run) send(count uint64) {
	ctx := context.Background()
	promise := func(_ *kgo.Record, err error) {
		if err == nil {
			r.acked.Add(1)
		}
	}
	for range count {
		r.client.Produce(ctx, &kgo.Record{Value: r.value}, promise)
	}
}

func (r *run) settle() {
	if err := r.client.Flush(context.Background()); err != nil {
		fail(err)
	}
}

func (r *run) roundTrip() {
	if err := r.client.ProduceSync(context.Background(), &kgo.Record{Value: r.value}).FirstErr(); err != nil {
		fail(err)
	}
	r.acked.Add(1)
}

// openLoop hands over what is due, then sleeps until the next record is, but 50 us at least. The
// sleep is the kernel's: the runtime's own timers may be late by a millisecond when it idles.
func (r *run) openLoop(begin int64, count uint64, l *latencies) {
	ctx := context.Background()
	clock := now()
	for index := range count {
		due := begin + int64(index*1000000000 / *rate)
		for due > clock {
			clock = now()
			if due > clock {
				nap := syscall.NsecToTimespec(max(due-clock, 50000))
				_ = syscall.Nanosleep(&nap, nil)
			}
		}
		r.client.Produce(ctx, &kgo.Record{Value: r.value}, func(_ *kgo.Record, err error) {
			if err == nil {
				r.acked.Add(1)
				l.ends(due)
			}
		})
	}
}

func connect() (*run, string) {
	options := []kgo.Opt{
		kgo.SeedBrokers(*bootstrap),
		kgo.DefaultProduceTopic(*topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(time.Duration(*linger) * time.Millisecond),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	}
	batch := "default (1 MB)"
	if *batchSize > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(int32(*batchSize)))
		batch = strconv.Itoa(*batchSize)
	}
	if *buffered > 0 {
		options = append(options, kgo.MaxBufferedRecords(*buffered))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		fail(err)
	}
	value := make([]byte, *size)
	for index := range value {
		value[index] = 'a' + byte(index%26)
	}
	words := fmt.Sprintf("Produce with a promise (rtt: ProduceSync), ProducerBatchMaxBytes %s, ProducerLinger %d ms",
		batch, *linger)
	return &run{client: client, value: value}, words
}

func main() {
	flag.Parse()
	r, settings := connect()
	var found map[string]any
	var before uint64
	var began time.Time
	var user0, system0 time.Duration
	mark := func() {
		before = r.acked.Load()
		began = time.Now()
		user0, system0 = processCPU()
	}
	sent := *records
	switch *mode {
	case "throughput":
		r.send(*warmUp)
		r.settle()
		mark()
		r.send(*records - *warmUp)
		r.settle()
	case "rtt":
		for range *warmUp {
			r.roundTrip()
		}
		mark()
		l := &latencies{from: now()}
		for range *records - *warmUp {
			due := now()
			r.roundTrip()
			l.ends(due)
		}
		found = l.summary(0)
	case "open-loop":
		r.send(1)
		r.settle()
		mark()
		count := *warmUp + *rate**duration
		begin := now() + 1000000
		l := &latencies{from: begin + int64(*warmUp*1000000000 / *rate)}
		r.openLoop(begin, count, l)
		r.settle()
		found = l.summary(*rate)
		sent = count + 1
	default:
		fail("no mode " + *mode)
	}
	wall := time.Since(began)
	user, system := processCPU()
	acked := r.acked.Load()
	steady := float64(max(acked-before, 1))
	line, err := json.Marshal(map[string]any{
		"client": "franz-go", "version": version(), "settings": settings, "mode": *mode,
		"size": *size, "partitions": *partitions, "records": sent, "acknowledged": acked,
		"seconds": wall.Seconds(), "records_per_sec": steady / wall.Seconds(),
		"cpu_ns_per_record":       float64(user+system-user0-system0) / steady,
		"cpu_ns_per_record_whole": float64(user+system) / float64(max(acked, 1)),
		"cpu_user_s":              user.Seconds(), "cpu_system_s": system.Seconds(),
		"resident_bytes_max": residentMax(), "requests": nil, "latency": found,
	})
	if err != nil {
		fail(err)
	}
	fmt.Println(string(line))
	if acked < sent {
		fail(fmt.Sprintf("%d records were not acknowledged", sent-acked))
	}
}
