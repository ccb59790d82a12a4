package etl;

import static org.elasticsearch.ingest.ConfigurationUtils.readObject;
import static org.elasticsearch.ingest.ConfigurationUtils.readStringProperty;

import java.util.Map;
import org.elasticsearch.ingest.AbstractProcessor;
import org.elasticsearch.ingest.IngestDocument;
import org.elasticsearch.ingest.Processor;

/** The module with the processors is not published; the service that calls them is in the server. Own.java registers these. */
class Ingest {
    interface Work {
        void on(IngestDocument document) throws Exception;
    }

    interface Maker {
        Work make(Map<String, Object> config);
    }

    /** Those of which only the definition counts accept any, and do nothing. */
    static final Map<String, Maker> MAKERS = Map.of(
        "set", Ingest::set,
        "convert", Ingest::convert,
        "dissect", Ingest::dissect,
        "fail", Ingest::fail,
        "reroute", Ingest::reroute,
        "rename", Ingest::nothing,
        "foreach", Ingest::nothing,
        "date_index_name", Ingest::nothing);

    static Processor processor(String type, String tag, String description, Map<String, Object> config) {
        Work work = MAKERS.get(type).make(config);
        return new AbstractProcessor(tag, description) {
            @Override
            public String getType() {
                return type;
            }

            @Override
            public IngestDocument execute(IngestDocument document) throws Exception {
                work.on(document);
                return document;
            }
        };
    }

    private static Work set(Map<String, Object> config) {
        String field = readStringProperty("set", null, config, "field");
        Object value = readObject("set", null, config, "value");
        return document -> document.setFieldValue(field, value);
    }

    private static Work convert(Map<String, Object> config) {
        String field = readStringProperty("convert", null, config, "field");
        String type = readStringProperty("convert", null, config, "type");
        return document -> {
            Object value = document.getFieldValue(field, Object.class);
            try {
                document.setFieldValue(field, Integer.parseInt(value.toString()));
            } catch (NumberFormatException e) {
                throw new IllegalArgumentException("unable to convert [" + value + "] to " + type, e);
            }
        };
    }

    private static Work dissect(Map<String, Object> config) {
        String field = readStringProperty("dissect", null, config, "field");
        String pattern = readStringProperty("dissect", null, config, "pattern");
        return document -> {
            throw new DissectException.FindMatch(pattern, document.getFieldValue(field, String.class));
        };
    }

    private static Work fail(Map<String, Object> config) {
        String message = readStringProperty("fail", null, config, "message");
        return document -> {
            throw new FailProcessorException(message);
        };
    }

    private static Work reroute(Map<String, Object> config) {
        String destination = readStringProperty("reroute", null, config, "destination");
        return document -> document.reroute(destination);
    }

    private static Work nothing(Map<String, Object> config) {
        config.clear();
        return document -> { };
    }

    /** The class's name is the error's type in an answer. */
    static class FailProcessorException extends RuntimeException {
        FailProcessorException(String message) {
            super(message);
        }
    }

    static class DissectException extends RuntimeException {
        DissectException(String message) {
            super(message);
        }

        static class FindMatch extends DissectException {
            FindMatch(String pattern, String source) {
                super("Unable to find match for dissect pattern: " + pattern + " against source: " + source);
            }
        }
    }
}
