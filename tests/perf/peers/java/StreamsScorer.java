import ai.onnxruntime.OrtException;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/** Kafka Streams, exactly once v2: one call of the model for each record, as its DSL has it. */
final class StreamsScorer {
    public static void main(String[] arguments) throws Exception {
        var settings = System.getenv();
        var model = new Model(settings.get("PEER_MODEL"), 1);
        var builder = new StreamsBuilder();
        builder.stream(settings.get("PEER_TOPIC"), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .mapValues(record -> score(model, record))
                .to(settings.get("PEER_OUTPUT"), Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
        var config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, settings.get("PEER_GROUP"));
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, settings.get("PEER_BOOTSTRAP"));
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.STATE_DIR_CONFIG, settings.get("PEER_DATA"));
        config.put("auto.offset.reset", "earliest");
        new KafkaStreams(builder.build(), config).start();
    }

    private static byte[] score(Model model, byte[] record) {
        model.read(0, record);
        try {
            return Model.write(model.score(1)[0]);
        } catch (OrtException error) {
            throw new IllegalStateException(error);
        }
    }
}
