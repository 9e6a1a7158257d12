using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Low-rank attention with a cache of moments: each key enters the moments of its head once, and a later scale adds only its own keys before
/// its queries are answered (Ke et al., arXiv 2501.04377, with VAR's block-causal order). The moments of a head take r (c_v + 1) numbers however many tokens there are.</summary>
/// <remarks>Centres and weights are those of the call that began the moments; when the keys' middle moves, moments are translated. Heads whose new keys or
/// queries no longer fit begin anew from all keys, which are always given. The bound is that of <see cref="LowRankHead"/>.</remarks>
public sealed class LowRankSequence : IAttentionSequence
{
    private readonly LowRankAttention _strategy;
    private LowRankHead[] _heads = [];

    internal LowRankSequence(LowRankAttention strategy) => _strategy = strategy;

    /// <inheritdoc/>
    public string Name => _strategy.Name;

    /// <summary>Keys whose features were computed, over all heads and calls; keys computed anew count again.</summary>
    public long FeaturizedKeys => _heads.Sum(head => head.Featurized);

    /// <summary>How often moments were carried to another centre.</summary>
    public int Translations => _heads.Sum(head => head.Translations);

    /// <summary>Bytes of all moments now.</summary>
    public long MomentBytes => _heads.Sum(head => head.MomentBytes);

    /// <inheritdoc/>
    /// <remarks>One call at a time for all sequences of a strategy, whose working memory they share.</remarks>
    public Certificate Attend(in AttentionInput input, HeadTensor output)
    {
        int heads = input.Queries.Batch * input.Queries.Heads;
        if (_heads.Length != heads)
        {
            _heads = [.. Enumerable.Range(0, heads).Select(_ => _strategy.CreateHead())];
        }

        return _strategy.Attend(input, output, _heads);
    }

    /// <inheritdoc/>
    public void Clear()
    {
        foreach (LowRankHead head in _heads)
        {
            head.Clear();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _heads = [];
}
