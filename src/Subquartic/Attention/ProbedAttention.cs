using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Passes every call on to another strategy and shows the call and its certificate to an observer: how runs are
/// reported and models analysed.</summary>
/// <param name="inner">The strategy that computes; disposed with this one when it can be.</param>
/// <param name="observe">Called after each call, on its thread.</param>
public sealed class ProbedAttention(IAttention inner, ProbedAttention.Observer observe) : IAttentionSequence
{
    /// <summary>Looks at a call that is done.</summary>
    /// <param name="input">Queries, keys, values and scale.</param>
    /// <param name="certificate">What is known about the result.</param>
    public delegate void Observer(in AttentionInput input, in Certificate certificate);

    /// <inheritdoc/>
    public string Name => inner.Name;

    /// <inheritdoc/>
    public Certificate Attend(in AttentionInput input, HeadTensor output)
    {
        Certificate certificate = inner.Attend(input, output);
        observe(input, certificate);
        return certificate;
    }

    /// <inheritdoc/>
    public IAttentionSequence CreateSequence() => new ProbedAttention(inner.CreateSequence(), observe);

    /// <inheritdoc/>
    public void Clear() => (inner as IAttentionSequence)?.Clear();

    /// <inheritdoc/>
    public void Dispose() => (inner as IDisposable)?.Dispose();
}
