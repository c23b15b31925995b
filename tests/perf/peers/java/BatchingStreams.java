import ai.onnxruntime.OrtException;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.processor.StateStoreContext;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.processor.internals.InternalProcessorContext;
import org.apache.kafka.streams.processor.internals.ProcessorNode;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.internals.AbstractStoreBuilder;
import org.apache.kafka.streams.state.internals.CacheFlushListener;
import org.apache.kafka.streams.state.internals.CachedStateStore;

/**
 * Kafka Streams, exactly once v2, in micro-batches: records are kept until there are enough, or until Streams commits. It
 * tells its caches before, and so the batch is one: nothing else would keep a record from being committed unscored. Its
 * documentation has no such thing. It writes as much of a prediction as millrace does.
 */
final class BatchingStreams {
    public static void main(String[] arguments) throws Exception {
        var settings = System.getenv();
        int most = Integer.parseInt(settings.get("PEER_TRANSACTION_RECORDS"));
        var builder = new StreamsBuilder();
        ProcessorSupplier<byte[], byte[], byte[], byte[]> batching = new ProcessorSupplier<>() {
            @Override
            public Processor<byte[], byte[], byte[], byte[]> get() {
                return new Batching(settings.get("PEER_MODEL"), most);
            }

            @Override
            public Set<StoreBuilder<?>> stores() {
                return Set.of(new BatchBuilder());
            }
        };
        builder.stream(settings.get("PEER_TOPIC"), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .process(batching)
                .to(settings.get("PEER_OUTPUT"), Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
        var config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, settings.get("PEER_GROUP"));
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, settings.get("PEER_BOOTSTRAP"));
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.STATE_DIR_CONFIG, settings.get("PEER_DATA"));
        config.put("auto.offset.reset", "earliest");
        new KafkaStreams(builder.build(), config).start();
    }

    /** Keeps records and scores them together. */
    private static final class Batching implements Processor<byte[], byte[], byte[], byte[]> {
        private final String path;
        private final int most;
        private final List<Record<byte[], byte[]>> records = new ArrayList<>();
        private final List<RecordMetadata> places = new ArrayList<>();
        private Model model;
        private InternalProcessorContext<byte[], byte[]> context;
        private ProcessorNode<?, ?, ?, ?> node;

        Batching(String path, int most) {
            this.path = path;
            this.most = most;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = (InternalProcessorContext<byte[], byte[]>) context;
            node = this.context.currentNode();
            Batch store = context.getStateStore(Batch.NAME);
            store.onFlush = this::score;
            try {
                model = new Model(path, most);
            } catch (OrtException error) {
                throw new IllegalStateException(error);
            }
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            model.read(records.size(), record.value());
            records.add(record);
            places.add(context.recordMetadata().orElseThrow());
            if (records.size() == most) {
                score();
            }
        }

        private void score() {
            if (records.isEmpty()) {
                return;
            }
            float[] scores = scores();
            var current = context.currentNode();
            context.setCurrentNode(node); // while Streams commits it is nobody's turn
            for (int row = 0; row < scores.length; row++) {
                var record = records.get(row);
                var place = places.get(row);
                context.forward(record.withValue(Model.writeWhole(
                        scores[row], place.topic(), place.partition(), place.offset(), record.timestamp())));
            }
            context.setCurrentNode(current);
            records.clear();
            places.clear();
        }

        private float[] scores() {
            try {
                return model.score(records.size());
            } catch (OrtException error) {
                throw new IllegalStateException(error);
            }
        }
    }

    /** A store without content, by which Streams says that it is about to commit. */
    private static final class Batch implements StateStore, CachedStateStore<byte[], byte[]> {
        static final String NAME = "batch";

        private Runnable onFlush = () -> {};
        private boolean open;

        @Override
        public String name() {
            return NAME;
        }

        @Override
        public void init(StateStoreContext context, StateStore root) {
            context.register(root, (key, value) -> {});
            open = true;
        }

        @Override
        public boolean setFlushListener(CacheFlushListener<byte[], byte[]> listener, boolean sendOldValues) {
            return false;
        }

        @Override
        public void flushCache() {
            onFlush.run();
        }

        @Override
        public void clearCache() {}

        @Override
        public void close() {
            open = false;
        }

        @Override
        public boolean persistent() {
            return false;
        }

        @Override
        public boolean isOpen() {
            return open;
        }
    }

    private static final class BatchBuilder extends AbstractStoreBuilder<byte[], byte[], Batch> {
        BatchBuilder() {
            super(Batch.NAME, Serdes.ByteArray(), Serdes.ByteArray(), Time.SYSTEM);
            withLoggingDisabled();
        }

        @Override
        public Batch build() {
            return new Batch();
        }
    }
}
