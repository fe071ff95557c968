import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * The Java producer in the comparison: one process, one run, one line of JSON, as the Rust clients
 * print it.
 *
 * <p>Throughput: a tight loop of send with a callback from one thread, after a warm-up long enough
 * for the compiler. The producer's own bound (buffer.memory) makes send wait.
 */
public final class Compare {
    private final Map<String, String> options;
    private final String topic;
    private final int size;
    private final byte[] text;
    private int at;
    private final KafkaProducer<byte[], byte[]> producer;

    /** Written by the producer's one I/O thread. */
    private final AtomicLong acknowledged = new AtomicLong();

    private Compare(Map<String, String> options) throws IOException {
        this.options = options;
        topic = options.getOrDefault("topic", "compare");
        size = (int) number("size", 100);
        if (options.containsKey("text")) {
            text = Files.readAllBytes(Path.of(options.get("text")));
        } else {
            text = new byte[size];
            for (int index = 0; index < size; index++) {
                text[index] = (byte) ('a' + index % 26);
            }
        }
        Properties properties = new Properties();
        properties.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("bootstrap"));
        properties.put(ProducerConfig.ACKS_CONFIG, "all");
        properties.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, "true");
        properties.put(ProducerConfig.LINGER_MS_CONFIG, String.valueOf(number("linger", 5)));
        if (options.containsKey("batch-size")) {
            properties.put(ProducerConfig.BATCH_SIZE_CONFIG, options.get("batch-size"));
        }
        for (String name : options.keySet()) {
            if (name.startsWith("property ")) {
                properties.put(name.substring("property ".length()), options.get(name));
            }
        }
        producer = new KafkaProducer<>(
            properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private long number(String name, long otherwise) {
        String text = options.get(name);
        return text == null ? otherwise : Long.parseLong(text);
    }

    /** The next value: always the same letters, or the next piece of the text. */
    private byte[] value() {
        if (text.length == size) {
            return text;
        }
        at = at + size > text.length ? 0 : at;
        at += size;
        return Arrays.copyOfRange(text, at - size, at);
    }

    private void send(long count) {
        for (long index = 0; index < count; index++) {
            producer.send(new ProducerRecord<>(topic, value()), (metadata, error) -> {
                if (error == null) {
                    acknowledged.lazySet(acknowledged.get() + 1);
                }
            });
        }
    }

    private void roundTrip() throws Exception {
        producer.send(new ProducerRecord<>(topic, value())).get();
        acknowledged.lazySet(acknowledged.get() + 1);
    }

    /** Hands over what is due, then sleeps until the next record is, but 50 us at least. */
    private void openLoop(long start, long count, long rate, Latencies latencies) {
        long now = System.nanoTime();
        for (long index = 0; index < count; index++) {
            long due = start + Math.multiplyExact(index, 1_000_000_000L) / rate;
            while (due > now) {
                now = System.nanoTime();
                if (due > now) {
                    LockSupport.parkNanos(Math.max(due - now, 50_000));
                }
            }
            producer.send(new ProducerRecord<>(topic, value()), (metadata, error) -> {
                if (error == null) {
                    acknowledged.lazySet(acknowledged.get() + 1);
                    latencies.ends(due);
                }
            });
        }
    }

    /** Latencies of the records that were due after the warm-up; one thread at a time adds. */
    private static final class Latencies {
        private static final int STEPS = 128;
        private static final int STEP_BITS = 7;
        private final long[] buckets = new long[(64 - STEP_BITS + 1) * STEPS];
        private final long from;
        private long largest;
        private long last;

        Latencies(long from) {
            this.from = from;
        }

        void ends(long due) {
            if (due < from) {
                return;
            }
            last = System.nanoTime();
            long nanoseconds = Math.max(last - due, 0);
            int bucket = (int) nanoseconds;
            if (nanoseconds >= STEPS) {
                int shift = 63 - Long.numberOfLeadingZeros(nanoseconds) - STEP_BITS;
                bucket = (int) ((shift + 1L) * STEPS + (nanoseconds >>> shift) - STEPS);
            }
            buckets[bucket]++;
            largest = Math.max(largest, nanoseconds);
        }

        private double at(double share, long count) {
            long rank = Math.max(1, (long) Math.ceil(share * count));
            long seen = 0;
            for (int bucket = 0; bucket < buckets.length; bucket++) {
                seen += buckets[bucket];
                if (seen >= rank) {
                    int shift = bucket / STEPS - 1;
                    long edge = bucket < STEPS
                        ? bucket : ((long) (bucket % STEPS + STEPS + 1) << shift) - 1;
                    return Math.min(edge, largest) / 1e3;
                }
            }
            return 0;
        }

        String json(long offered) {
            long count = 0;
            for (long bucket : buckets) {
                count += bucket;
            }
            double achieved = count / (Math.max(last - from, 1) / 1e9);
            return String.format(Locale.ROOT,
                "{\"count\":%d,\"p50_us\":%f,\"p90_us\":%f,\"p99_us\":%f,\"p999_us\":%f,"
                    + "\"p9999_us\":%f,\"max_us\":%f,\"offered_per_sec\":%s,"
                    + "\"achieved_per_sec\":%f,\"behind\":%b}",
                count, at(0.5, count), at(0.9, count), at(0.99, count), at(0.999, count),
                at(0.9999, count), largest / 1e3, offered > 0 ? String.valueOf(offered) : "null",
                achieved, offered > 0 && achieved < offered * 0.995);
        }
    }

    /** CPU of the whole process, the compiler's and the collector's threads included. */
    private static long processCpu() {
        return ((com.sun.management.OperatingSystemMXBean)
            ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    private static long residentMax() throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
            }
        }
        return 0;
    }

    /** User's share of the CPU time, by the ticks in /proc. */
    private static double userShare() throws Exception {
        String stat = Files.readString(Path.of("/proc/self/stat"));
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        double user = Double.parseDouble(fields[11]);
        double system = Double.parseDouble(fields[12]);
        return user / Math.max(user + system, 1);
    }

    private void run() throws Exception {
        String mode = options.getOrDefault("mode", "throughput");
        long records = number("records", 1_000_000);
        long warmUp = number("warm-up", records / 2);
        long rate = number("rate", 100_000);
        Latencies latencies = null;
        long before;
        long began;
        long cpu;
        switch (mode) {
            case "throughput" -> {
                send(warmUp);
                producer.flush();
                before = acknowledged.get();
                began = System.nanoTime();
                cpu = processCpu();
                send(records - warmUp);
                producer.flush();
            }
            case "rtt" -> {
                for (long index = 0; index < warmUp; index++) {
                    roundTrip();
                }
                before = acknowledged.get();
                began = System.nanoTime();
                cpu = processCpu();
                latencies = new Latencies(began);
                for (long index = warmUp; index < records; index++) {
                    long due = System.nanoTime();
                    roundTrip();
                    latencies.ends(due);
                }
            }
            case "open-loop" -> {
                send(1);
                producer.flush();
                before = acknowledged.get();
                began = System.nanoTime();
                cpu = processCpu();
                long count = warmUp + rate * number("duration", 10);
                long start = began + 1_000_000;
                latencies = new Latencies(
                    start + Math.multiplyExact(warmUp, 1_000_000_000L) / rate);
                openLoop(start, count, rate, latencies);
                producer.flush();
                records = count + 1;
            }
            default -> throw new IllegalArgumentException("no mode " + mode);
        }
        double seconds = (System.nanoTime() - began) / 1e9;
        double spent = processCpu() - cpu;
        double whole = processCpu();
        long done = acknowledged.get();
        double steady = Math.max(done - before, 1);
        String batch = options.getOrDefault("batch-size", "default (16384)");
        String how = mode.equals("rtt") ? "send().get()" : "send with a callback";
        String settings = how + ", batch.size " + batch + ", linger.ms " + number("linger", 5)
            + ", -Xmx1g";
        System.out.printf(Locale.ROOT,
            "{\"client\":\"java\",\"version\":\"%s (Java %s)\",\"settings\":\"%s\","
                + "\"mode\":\"%s\",\"size\":%d,\"partitions\":%d,\"records\":%d,"
                + "\"acknowledged\":%d,\"seconds\":%f,\"records_per_sec\":%f,"
                + "\"cpu_ns_per_record\":%f,\"cpu_ns_per_record_whole\":%f,\"cpu_user_s\":%f,"
                + "\"cpu_system_s\":%f,\"resident_bytes_max\":%d,\"requests\":null,"
                + "\"latency\":%s}%n",
            AppInfoParser.getVersion(), System.getProperty("java.version"), settings, mode,
            size, number("partitions", 10), records, done, seconds, steady / seconds,
            spent / steady, whole / Math.max(done, 1), whole / 1e9 * userShare(),
            whole / 1e9 * (1 - userShare()), residentMax(),
            latencies == null ? "null" : latencies.json(mode.equals("rtt") ? 0 : rate));
        producer.close();
        if (done < records) {
            throw new IllegalStateException((records - done) + " records were not acknowledged");
        }
    }

    public static void main(String[] arguments) {
        Map<String, String> options = new HashMap<>();
        for (int index = 0; index + 1 < arguments.length; index += 2) {
            String name = arguments[index].substring(2);
            String text = arguments[index + 1];
            if (name.equals("property")) {
                String[] pair = text.split("=", 2);
                options.put("property " + pair[0], pair[1]);
            } else {
                options.put(name, text);
            }
        }
        try {
            new Compare(options).run();
        } catch (Exception error) {
            System.err.println("java: " + error);
            System.exit(1);
        }
    }
}
