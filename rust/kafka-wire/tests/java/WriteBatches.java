// Writes the *.batch files beside it: java -cp 'DIR-OF-KAFKA-CLIENTS-4.3.1-AND-ITS-DEPENDENCIES/*' WriteBatches.java

import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Paths;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;

public class WriteBatches {
    public static void main(String[] args) throws Exception {
        for (String codec : new String[] {"none", "gzip", "snappy", "lz4", "zstd"}) {
            MemoryRecordsBuilder builder = MemoryRecords.builder(
                ByteBuffer.allocate(1 << 20), Compression.of(codec).build(), TimestampType.CREATE_TIME, 100L);
            for (int i = 0; i < 50; i++) {
                Header[] headers = i % 2 == 0 ? new Header[0] : new Header[] {
                    new RecordHeader("trace", ("id-" + i).getBytes()), new RecordHeader("null", (byte[]) null)};
                byte[] key = i % 5 == 4 ? null : ("key-" + i % 7).getBytes();
                byte[] value = i % 10 == 9 ? null : ("value number " + i + " of this batch").getBytes();
                builder.append(1700000000000L + i * 10, key, value, headers);
            }
            ByteBuffer buffer = builder.build().buffer();
            byte[] batch = new byte[buffer.remaining()];
            buffer.get(batch);
            Files.write(Paths.get(codec + ".batch"), batch);
        }
    }
}
