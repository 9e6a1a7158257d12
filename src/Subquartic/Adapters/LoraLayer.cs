namespace Subquartic.Adapters;

/// <summary>One linear layer y = x W^T with a low-rank change: W + scale B A (Hu et al., ICLR 2022).</summary>
/// <param name="Module">Official name of the layer, such as <c>blocks.0.attn.proj</c>.</param>
/// <param name="Inputs">Columns of W and of A.</param>
/// <param name="Outputs">Rows of W and of B.</param>
/// <param name="Rank">Rows of A and columns of B.</param>
/// <param name="Scale">alpha / rank as the user chose them.</param>
/// <param name="Parts">Which equal parts of the outputs the layer changes, each with its own share of the rank: for <c>mat_qkv</c> 0 is W_Q, 1 is W_K and 2 is W_V, and the
/// rows of B of a part are zero outside its share. Empty when every output uses the whole rank.</param>
public sealed record LoraLayer(string Module, int Inputs, int Outputs, int Rank, double Scale, IReadOnlyList<int> Parts)
{
    /// <summary>Parts of the outputs of <c>mat_qkv</c>: queries, keys, values.</summary>
    public const int QkvParts = 3;

    /// <summary>Name of a factor in a file of the PEFT library (peft 0.13, get_peft_model_state_dict).</summary>
    /// <param name="factor">A or B.</param>
    /// <returns>The name.</returns>
    public string TensorName(char factor) => $"{LoraAdapter.Prefix}{Module}.lora_{factor}.weight";

    /// <summary>Clears the entries of B, or of its gradient, that join a part to a share of the rank that is not its own.</summary>
    /// <param name="b">(Outputs, Rank).</param>
    public void KeepParts(Span<float> b)
    {
        if (Parts.Count == 0)
        {
            return;
        }

        int share = Rank / Parts.Count;
        int rows = Outputs / QkvParts;
        for (int row = 0; row < Outputs; row++)
        {
            Span<float> entries = b.Slice(row * Rank, Rank);
            int own = -1;
            for (int t = 0; t < Parts.Count; t++)
            {
                own = Parts[t] == row / rows ? t : own;
            }

            entries[..(own < 0 ? Rank : own * share)].Clear();
            entries[(own < 0 ? Rank : (own + 1) * share)..].Clear();
        }
    }
}
