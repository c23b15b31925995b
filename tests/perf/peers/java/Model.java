import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Set;

/** A model of some numbers on one thread of ONNX Runtime, and the JSON on both of its sides. */
final class Model {
    private static final String DIGEST = "0".repeat(64);

    private static final double[] POWERS_OF_TEN = new double[23];

    static {
        POWERS_OF_TEN[0] = 1;
        for (int power = 1; power < POWERS_OF_TEN.length; power++) {
            POWERS_OF_TEN[power] = POWERS_OF_TEN[power - 1] * 10;
        }
    }

    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final OrtSession session;
    private final String input;
    private final String output;
    private final int features;
    private final FloatBuffer rows;
    private byte[] json;
    private int at;

    Model(String path, int mostRows) throws OrtException {
        var options = new OrtSession.SessionOptions();
        options.setIntraOpNumThreads(1);
        options.setInterOpNumThreads(1);
        session = environment.createSession(path, options);
        input = session.getInputNames().iterator().next();
        output = session.getOutputNames().stream().reduce((first, second) -> second).orElseThrow();
        features = Integer.parseInt(System.getenv("PEER_FEATURES"));
        rows = ByteBuffer.allocateDirect(mostRows * features * Float.BYTES).order(ByteOrder.nativeOrder()).asFloatBuffer();
    }

    /** Reads a record into a row. By hand: no reader of a library is as quick for an object of known numbers. */
    void read(int row, byte[] record) {
        json = record;
        at = 1;
        for (int field = 0; field < features; field++) {
            while (json[at] != 'f') {
                at++;
            }
            int feature = 0;
            for (at++; json[at] != '"'; at++) {
                feature = feature * 10 + json[at] - '0';
            }
            at += 2;
            rows.put(row * features + feature, number());
        }
    }

    /** The scores of the rows that were read. */
    float[] score(int count) throws OrtException {
        var view = rows.duplicate().limit(count * features);
        try (var tensor = OnnxTensor.createTensor(environment, view, new long[] {count, features});
                var result = session.run(Map.of(input, tensor), Set.of(output))) {
            FloatBuffer found = ((OnnxTensor) result.get(0)).getFloatBuffer();
            int width = found.remaining() / count;
            var scores = new float[count];
            for (int row = 0; row < count; row++) {
                scores[row] = found.get(row * width + width - 1);
            }
            return scores;
        }
    }

    /** A score as JSON. */
    static byte[] write(float score) {
        return ("{\"score\":" + score + "}").getBytes(StandardCharsets.ISO_8859_1);
    }

    /** What millrace writes of a score, but for the bins: where it comes from, and everything that it was made with. */
    static byte[] writeWhole(float score, String topic, int partition, long offset, long timestamp) {
        String text = "{\"event_id\":\"" + topic + '-' + partition + '-' + offset
                + "\",\"source\":{\"topic\":\"" + topic + "\",\"partition\":" + partition + ",\"offset\":" + offset
                + "},\"deployment\":\"java\",\"model\":\"perf\",\"version\":1,\"digest\":\"sha256:" + DIGEST
                + "\",\"transform\":\"identity\",\"outputs\":{\"label\":\"" + (score > 0.5f ? "yes" : "no")
                + "\",\"scores\":{\"no\":" + (1 - score) + ",\"yes\":" + score
                + "}},\"event_time\":" + timestamp + ",\"scored_at\":" + System.currentTimeMillis() + '}';
        return text.getBytes(StandardCharsets.ISO_8859_1);
    }

    private float number() {
        boolean negative = json[at] == '-';
        if (negative) {
            at++;
        }
        long digits = 0;
        int fraction = 0;
        boolean afterPoint = false;
        for (; json[at] >= '0' && json[at] <= '9' || json[at] == '.'; at++) {
            if (json[at] == '.') {
                afterPoint = true;
                continue;
            }
            digits = digits * 10 + json[at] - '0';
            fraction += afterPoint ? 1 : 0;
        }
        if (json[at] == 'e') {
            fraction -= exponent();
        }
        double magnitude = fraction < 0 ? digits * POWERS_OF_TEN[-fraction] : digits / POWERS_OF_TEN[fraction];
        return (float) (negative ? -magnitude : magnitude);
    }

    private int exponent() {
        int from = ++at;
        while (json[at] != ',' && json[at] != '}') {
            at++;
        }
        return Integer.parseInt(new String(json, from, at - from, StandardCharsets.ISO_8859_1));
    }
}
