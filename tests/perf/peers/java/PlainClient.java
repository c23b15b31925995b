import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Consume, score, produce, exactly once: each poll is one call of the model and one transaction. */
final class PlainClient {
    public static void main(String[] arguments) throws Exception {
        var settings = System.getenv();
        String topic = settings.get("PEER_TOPIC");
        int most = Integer.parseInt(settings.get("PEER_TRANSACTION_RECORDS"));
        var model = new Model(settings.get("PEER_MODEL"), most);
        try (var consumer = consumer(settings, most); var producer = producer(settings)) {
            producer.initTransactions();
            consumer.subscribe(List.of(topic));
            while (true) {
                var polled = consumer.poll(Duration.ofSeconds(1)).records(new TopicPartition(topic, 0));
                if (!polled.isEmpty()) {
                    producer.beginTransaction();
                    score(model, polled, producer, settings.get("PEER_OUTPUT"));
                    var next = new OffsetAndMetadata(polled.get(polled.size() - 1).offset() + 1);
                    var offsets = Map.of(new TopicPartition(topic, 0), next);
                    producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
                    producer.commitTransaction();
                }
            }
        }
    }

    private static void score(
            Model model,
            List<ConsumerRecord<byte[], byte[]>> records,
            KafkaProducer<byte[], byte[]> producer,
            String output)
            throws Exception {
        for (int row = 0; row < records.size(); row++) {
            model.read(row, records.get(row).value());
        }
        float[] scores = model.score(records.size());
        for (int row = 0; row < scores.length; row++) {
            producer.send(new ProducerRecord<>(output, records.get(row).key(), Model.write(scores[row])));
        }
    }

    private static KafkaConsumer<byte[], byte[]> consumer(Map<String, String> settings, int most) {
        Map<String, Object> config = Map.of(
                "bootstrap.servers", settings.get("PEER_BOOTSTRAP"),
                "group.id", settings.get("PEER_GROUP"),
                "auto.offset.reset", "earliest",
                "enable.auto.commit", false,
                "isolation.level", "read_committed",
                "max.poll.records", most,
                // Not 1 MiB, which is three thousand of these records: a poll would never bring more.
                "max.partition.fetch.bytes", 16 << 20);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static KafkaProducer<byte[], byte[]> producer(Map<String, String> settings) {
        Map<String, Object> config = Map.of(
                "bootstrap.servers", settings.get("PEER_BOOTSTRAP"),
                "transactional.id", settings.get("PEER_GROUP"),
                "batch.size", 256 << 10);
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }
}
