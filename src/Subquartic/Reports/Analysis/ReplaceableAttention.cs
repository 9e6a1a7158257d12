using Subquartic.Attention;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Reports.Analysis;

/// <summary>Attention whose strategy is changed between runs, so that a model is loaded once.</summary>
/// <param name="current">The first strategy.</param>
internal sealed class ReplaceableAttention(IAttention current) : IAttention
{
    /// <summary>The strategy of the next calls.</summary>
    public IAttention Current { get; set; } = current;

    /// <inheritdoc/>
    public string Name => Current.Name;

    /// <inheritdoc/>
    public Certificate Attend(in AttentionInput input, HeadTensor output) => Current.Attend(input, output);
}
