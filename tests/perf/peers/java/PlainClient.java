import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Consume, score, produce, exactly once: each poll is one call of the model and one transaction. With the argument `whole`
 * it writes as much of a prediction as millrace does.
 */
final class PlainClient {
    public static void main(String[] arguments) throws Exception {
        var settings = System.getenv();
        boolean whole = List.of(arguments).contains("whole");
        int most = Integer.parseInt(settings.get("PEER_TRANSACTION_RECORDS"));
        var model = new Model(settings.get("PEER_MODEL"), most);
        try (var consumer = consumer(settings, most); var producer = producer(settings)) {
            producer.initTransactions();
            consumer.subscribe(List.of(settings.get("PEER_TOPIC")));
            while (true) {
                var polled = consumer.poll(Duration.ofSeconds(1));
                if (!polled.isEmpty()) {
                    producer.beginTransaction();
                    score(model, polled, producer, settings.get("PEER_OUTPUT"), whole);
                    producer.sendOffsetsToTransaction(polled.nextOffsets(), consumer.groupMetadata());
                    producer.commitTransaction();
                }
            }
        }
    }

    private static void score(
            Model model,
            ConsumerRecords<byte[], byte[]> records,
            KafkaProducer<byte[], byte[]> producer,
            String output,
            boolean whole)
            throws Exception {
        int row = 0;
        for (var record : records) {
            model.read(row++, record.value());
        }
        float[] scores = model.score(row);
        row = 0;
        for (var record : records) {
            float score = scores[row++];
            byte[] value = whole
                    ? Model.writeWhole(score, record.topic(), record.partition(), record.offset(), record.timestamp())
                    : Model.write(score);
            producer.send(new ProducerRecord<>(output, record.partition(), record.key(), value));
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
                "transactional.id", settings.get("PEER_MEMBER"),
                "batch.size", 256 << 10);
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }
}
