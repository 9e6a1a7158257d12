namespace Subquartic.Attention;

/// <summary>Attention of one layer over keys that only grow: the keys and values of each call begin with those of the call before, unchanged. What a
/// strategy knows about them it may keep.</summary>
public interface IAttentionSequence : IAttention, IDisposable
{
    /// <summary>Forgets all keys: the next call begins with others.</summary>
    void Clear();
}
