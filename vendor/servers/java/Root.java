package etl;

import java.util.List;
import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.xcontent.XContentBuilder;

/** GET /: the module that answers it is not published. Own.java registers it. */
class Root extends BaseRestHandler {
    @Override
    public String getName() {
        return "root";
    }

    @Override
    public List<Route> routes() {
        return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
    }

    @Override
    protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
        return channel -> {
            XContentBuilder answer = channel.newBuilder().startObject();
            answer.field("name", client.settings().get("node.name"));
            answer.field("cluster_name", client.settings().get("cluster.name"));
            answer.startObject("version").field("number", Build.current().version()).field("build_flavor", "default");
            answer.endObject().field("tagline", "You Know, for Search").endObject();
            channel.sendResponse(new RestResponse(RestStatus.OK, answer));
        };
    }
}
