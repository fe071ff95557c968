import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;

import org.apache.kafka.common.metrics.KafkaMetric;
import org.apache.kafka.common.metrics.MetricsReporter;
import org.apache.kafka.server.authorizer.AuthorizableRequestContext;
import org.apache.kafka.server.telemetry.ClientTelemetry;
import org.apache.kafka.server.telemetry.ClientTelemetryPayload;
import org.apache.kafka.server.telemetry.ClientTelemetryReceiver;
import org.apache.kafka.shaded.io.opentelemetry.proto.common.v1.KeyValue;
import org.apache.kafka.shaded.io.opentelemetry.proto.metrics.v1.Metric;
import org.apache.kafka.shaded.io.opentelemetry.proto.metrics.v1.MetricsData;
import org.apache.kafka.shaded.io.opentelemetry.proto.metrics.v1.NumberDataPoint;
import org.apache.kafka.shaded.io.opentelemetry.proto.metrics.v1.ResourceMetrics;
import org.apache.kafka.shaded.io.opentelemetry.proto.metrics.v1.ScopeMetrics;
import org.apache.kafka.shaded.io.opentelemetry.proto.metrics.v1.Sum;

/** A broker's plug-in that appends each push to a file, decoded with Kafka's own protobuf. */
public class TelemetryLog implements MetricsReporter, ClientTelemetry, ClientTelemetryReceiver {
    private Path file;

    @Override
    public void configure(Map<String, ?> configs) {
        file = Path.of(configs.get("kuring.telemetry.file").toString());
    }

    @Override
    public ClientTelemetryReceiver clientReceiver() {
        return this;
    }

    @Override
    public synchronized void exportMetrics(
            AuthorizableRequestContext context, ClientTelemetryPayload payload) {
        StringBuilder out = new StringBuilder();
        line(out, "push", context.clientId(), payload.clientInstanceId(), payload.isTerminating());
        try {
            for (ResourceMetrics of : MetricsData.parseFrom(payload.data()).getResourceMetricsList()) {
                for (KeyValue attribute : of.getResource().getAttributesList()) {
                    line(out, "resource", text(attribute));
                }
                for (ScopeMetrics scope : of.getScopeMetricsList()) {
                    scope.getMetricsList().forEach(metric -> append(out, metric));
                }
            }
            line(out, "end");
            Files.writeString(file, out, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        } catch (Exception e) {
            throw new RuntimeException(e);
        }
    }

    private static void append(StringBuilder out, Metric metric) {
        String kind = metric.getDataCase().toString();
        List<NumberDataPoint> points = metric.getGauge().getDataPointsList();
        if (metric.hasSum()) {
            Sum sum = metric.getSum();
            kind += sum.getIsMonotonic() ? "+" + sum.getAggregationTemporalityValue() : "?";
            points = sum.getDataPointsList();
        }
        for (NumberDataPoint point : points) {
            StringBuilder name = new StringBuilder(metric.getName());
            point.getAttributesList().forEach(it -> name.append(' ').append(text(it)));
            double value = point.hasAsInt() ? point.getAsInt() : point.getAsDouble();
            boolean timed = point.getTimeUnixNano() >= point.getStartTimeUnixNano();
            line(out, "metric", timed ? kind : "BACKWARDS", value, name);
        }
    }

    private static String text(KeyValue attribute) {
        return attribute.getKey() + "=" + attribute.getValue().getStringValue();
    }

    private static void line(StringBuilder out, Object... words) {
        for (int at = 0; at < words.length; at++) {
            out.append(at == 0 ? "" : "\t").append(words[at]);
        }
        out.append('\n');
    }

    @Override
    public void init(List<KafkaMetric> metrics) {}

    @Override
    public void metricChange(KafkaMetric metric) {}

    @Override
    public void metricRemoval(KafkaMetric metric) {}

    @Override
    public void close() {}
}
