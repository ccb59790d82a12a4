package etl;

import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.ingest.DropProcessor;
import org.elasticsearch.ingest.PipelineProcessor;
import org.elasticsearch.ingest.Processor;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.IngestPlugin;
import org.elasticsearch.rest.RestHandler;

/** What Maven lacks of Elasticsearch 9. */
public class Own extends Analysis implements ActionPlugin, IngestPlugin {
    @Override
    public Collection<RestHandler> getRestHandlers(
        RestHandlersServices services, Supplier<DiscoveryNodes> nodes, Predicate<NodeFeature> feature) {
        return List.of(new Root());
    }

    @Override
    public Map<String, Processor.Factory> getProcessors(Processor.Parameters parameters) {
        Map<String, Processor.Factory> all = new HashMap<>();
        for (String type : Ingest.MAKERS.keySet())
            all.put(type, (others, tag, description, config, project) -> Ingest.processor(type, tag, description, config));
        all.put(DropProcessor.TYPE, new DropProcessor.Factory());
        all.put(PipelineProcessor.TYPE, new PipelineProcessor.Factory(parameters.ingestService));
        return all;
    }
}
