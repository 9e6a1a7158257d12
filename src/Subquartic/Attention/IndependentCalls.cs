using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>A strategy that keeps nothing between calls, as a sequence.</summary>
/// <param name="inner">The strategy; not disposed here.</param>
internal sealed class IndependentCalls(IAttention inner) : IAttentionSequence
{
    /// <inheritdoc/>
    public string Name => inner.Name;

    /// <inheritdoc/>
    public Certificate Attend(in AttentionInput input, HeadTensor output) => inner.Attend(input, output);

    /// <inheritdoc/>
    public void Clear()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
