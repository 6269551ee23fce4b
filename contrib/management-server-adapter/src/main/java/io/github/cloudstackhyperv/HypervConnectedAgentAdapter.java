// Licensed under the Apache License, Version 2.0: see LICENSE at the root of cloudstack-hyperv.
package io.github.cloudstackhyperv;

import java.util.List;
import java.util.Map;

import javax.inject.Inject;
import javax.naming.ConfigurationException;

import org.apache.cloudstack.framework.config.dao.ConfigurationDao;

import com.cloud.agent.AgentManager;
import com.cloud.agent.Listener;
import com.cloud.agent.api.AgentControlAnswer;
import com.cloud.agent.api.AgentControlCommand;
import com.cloud.agent.api.Answer;
import com.cloud.agent.api.Command;
import com.cloud.agent.api.ModifySshKeysCommand;
import com.cloud.agent.api.ShutdownCommand;
import com.cloud.agent.api.StartupCommand;
import com.cloud.agent.api.StartupRoutingCommand;
import com.cloud.agent.manager.Commands;
import com.cloud.dc.dao.DataCenterDao;
import com.cloud.dc.dao.HostPodDao;
import com.cloud.exception.AgentUnavailableException;
import com.cloud.exception.OperationTimedoutException;
import com.cloud.host.Host;
import com.cloud.host.HostVO;
import com.cloud.host.Status;
import com.cloud.host.dao.HostDao;
import com.cloud.hypervisor.Hypervisor.HypervisorType;
import com.cloud.resource.ResourceManager;
import com.cloud.resource.ResourceStateAdapter;
import com.cloud.resource.ServerResource;
import com.cloud.utils.component.AdapterBase;

/**
 * Lets a management server take a Hyper-V host whose agent connects to it.
 *
 * The stock HypervServerDiscoverer answers null for connected agents, and with no other taker the
 * host is refused with "No resource state adapter response". Adapters are kept by name and all are
 * asked, so this one stands beside the stock one and replaces nothing.
 */
public class HypervConnectedAgentAdapter extends AdapterBase implements ResourceStateAdapter, Listener {

    @Inject
    private ResourceManager resourceManager;
    @Inject
    private AgentManager agentManager;
    @Inject
    private HostDao hostDao;
    @Inject
    private HostPodDao podDao;
    @Inject
    private DataCenterDao zoneDao;
    @Inject
    private ConfigurationDao configurationDao;

    @Override
    public boolean configure(String name, Map<String, Object> params) throws ConfigurationException {
        super.configure(name, params);
        resourceManager.registerResourceStateAdapter(getClass().getSimpleName(), this);
        agentManager.registerForHostEvents(this, true, false, false);
        return true;
    }

    @Override
    public boolean stop() {
        resourceManager.unregisterResourceStateAdapter(getClass().getSimpleName());
        return super.stop();
    }

    // A host that connects

    @Override
    public HostVO createHostVOForConnectedAgent(HostVO host, StartupCommand[] startup) {
        if (startup.length == 0 || !(startup[0] instanceof StartupRoutingCommand)) {
            return null;
        }
        StartupRoutingCommand routing = (StartupRoutingCommand)startup[0];
        if (routing.getHypervisorType() != HypervisorType.Hyperv) {
            return null;
        }
        // Throws for an address outside of the pod, as for hosts that are added by URL.
        resourceManager.checkCIDR(podDao.findById(host.getPodId()), zoneDao.findById(host.getDataCenterId()),
            routing.getPrivateIpAddress(), routing.getPrivateNetmask());
        hostDao.loadDetails(host);
        // host.resource stays null: that is what marks the host as one whose agent connects.
        return resourceManager.fillRoutingHostVO(host, routing, HypervisorType.Hyperv, host.getDetails(), null);
    }

    @Override
    public HostVO createHostVOForDirectConnectAgent(HostVO host, StartupCommand[] startup, ServerResource resource,
        Map<String, String> details, List<String> hostTags) {
        return null;
    }

    @Override
    public DeleteHostAnswer deleteHost(HostVO host, boolean isForced, boolean isForceDeleteStorage) {
        return null; // the stock discoverer deletes; the agent is told in processHostAboutToBeRemoved
    }

    /** Sends the key with which the agent reaches system VMs: SshKeysDistriMonitor leaves Hyper-V out. */
    @Override
    public void processConnect(Host host, StartupCommand startup, boolean forRebalance) {
        if (!(startup instanceof StartupRoutingCommand) || !isConnectedHyperv(hostDao.findById(host.getId()))) {
            return;
        }
        ModifySshKeysCommand keys = new ModifySshKeysCommand(configurationDao.getValue("ssh.publickey"),
            configurationDao.getValue("ssh.privatekey"));
        try {
            agentManager.send(host.getId(), new Commands(keys), this);
        } catch (AgentUnavailableException e) {
            logger.warn("The key for system VMs was not sent to host " + host.getId(), e);
        }
    }

    /** Without this the agent of a deleted host would come back. */
    @Override
    public void processHostAboutToBeRemoved(long hostId) {
        if (!isConnectedHyperv(hostDao.findById(hostId))) {
            return;
        }
        try {
            agentManager.send(hostId, new ShutdownCommand(ShutdownCommand.DeleteHost, null, true));
        } catch (AgentUnavailableException | OperationTimedoutException e) {
            logger.warn("The agent of host " + hostId + " was not told that its host is deleted", e);
        }
    }

    private static boolean isConnectedHyperv(HostVO host) {
        return host != null && host.getHypervisorType() == HypervisorType.Hyperv && host.getResource() == null;
    }

    // The rest of Listener is of no interest here

    @Override
    public boolean processAnswers(long agentId, long sequence, Answer[] answers) {
        return true;
    }

    @Override
    public boolean processCommands(long agentId, long sequence, Command[] commands) {
        return false;
    }

    @Override
    public AgentControlAnswer processControlCommand(long agentId, AgentControlCommand command) {
        return null;
    }

    @Override
    public void processHostAdded(long hostId) {
    }

    @Override
    public boolean processDisconnect(long agentId, Status state) {
        return true;
    }

    @Override
    public void processHostRemoved(long hostId, long clusterId) {
    }

    @Override
    public boolean isRecurring() {
        return false;
    }

    @Override
    public int getTimeout() {
        return -1;
    }

    @Override
    public boolean processTimeout(long agentId, long sequence) {
        return false;
    }
}
