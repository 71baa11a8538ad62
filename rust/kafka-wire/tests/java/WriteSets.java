// Writes old.sets beside it: java -cp 'DIR-OF-KAFKA-CLIENTS-4.4.0-AND-ITS-DEPENDENCIES/*' WriteSets.java

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Paths;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;

/** Message sets of formats 0 and 1, and a batch of magic 2 behind them, as they may lie in one log. */
public class WriteSets {
    private static final ByteArrayOutputStream LOG = new ByteArrayOutputStream();
    private static long offset = 100;

    public static void main(String[] args) throws Exception {
        for (String codec : new String[] {"none", "gzip", "snappy", "lz4"}) {
            write(0, codec, TimestampType.CREATE_TIME);
            write(1, codec, TimestampType.CREATE_TIME);
            write(1, codec, TimestampType.LOG_APPEND_TIME);
        }
        write(2, "none", TimestampType.CREATE_TIME);
        Files.write(Paths.get("old.sets"), LOG.toByteArray());
    }

    private static void write(int magic, String codec, TimestampType type) throws Exception {
        long time = magic == 0 ? -1 : 1600000000000L;
        MemoryRecordsBuilder builder = MemoryRecords.builder(
            ByteBuffer.allocate(1 << 20), (byte) magic, Compression.of(codec).build(), type, offset, time);
        for (int i = 0; i < 20; i++, offset++) {
            byte[] key = i % 5 == 4 ? null : ("key-" + i % 7).getBytes();
            byte[] value = i % 10 == 9 ? null : ("value number " + i + " of this set").getBytes();
            builder.append(magic == 0 ? -1 : 1700000000000L + i * 10, key, value);
        }
        ByteBuffer buffer = builder.build().buffer();
        byte[] set = new byte[buffer.remaining()];
        buffer.get(set);
        LOG.write(set);
    }
}
