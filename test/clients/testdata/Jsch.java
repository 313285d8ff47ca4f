import com.jcraft.jsch.ChannelExec;
import com.jcraft.jsch.JSch;
import com.jcraft.jsch.Session;
import com.jcraft.jsch.agentproxy.RemoteIdentityRepository;
import com.jcraft.jsch.agentproxy.connector.SSHAgentConnector;
import com.jcraft.jsch.agentproxy.usocket.JNAUSocketFactory;

class Jsch {
	public static void main(String[] args) throws Exception {
		JSch jsch = new JSch();
		jsch.setIdentityRepository(new RemoteIdentityRepository(new SSHAgentConnector(new JNAUSocketFactory())));
		Session session = jsch.getSession(args[2], args[0], Integer.parseInt(args[1]));
		session.setConfig("StrictHostKeyChecking", "no");
		session.setConfig("PreferredAuthentications", "publickey");
		session.connect(20000);
		ChannelExec channel = (ChannelExec) session.openChannel("exec");
		channel.setCommand("true");
		channel.connect();
		session.disconnect();
		System.exit(0);
	}
}
