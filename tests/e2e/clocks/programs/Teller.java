import java.io.*;
import java.time.Instant;

public class Teller {
    public static void main(String[] args) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null; ) {
            Instant now = Instant.now();
            System.out.println(now.getEpochSecond() + String.format("%09d", now.getNano()));
            System.out.flush();
        }
    }
}
