using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Attention;

public class ProbedAttentionTests
{
    [Fact]
    public void Shows_each_call_and_adds_up_its_certificates()
    {
        using var memory = new FloatBuffer(2 * 400 * 4);
        var random = new Random(1);
        foreach (ref float value in memory.Span())
        {
            value = random.NextSingle();
        }

        HeadTensor x = HeadTensor.Interleaved(memory.Matrix(400, 4), 1, 2);
        HeadTensor output = HeadTensor.Interleaved(memory.Matrix(400, 4, 1600), 1, 2);
        var summary = new CertificateSummary();
        using var attention = new ProbedAttention(
            new LowRankAttention(KernelSet.Best, new LowRankOptions { Tolerance = 1e-2, OnlyWhenFaster = false }), (in AttentionInput _, in Certificate certificate) => summary.Add(certificate));
        Certificate fast = attention.Attend(new AttentionInput(x, x, x, 0.5f), output);
        Certificate refused = attention.Attend(new AttentionInput(x, x, x, 1000), output);
        Assert.Equal("low-rank", attention.Name);
        Assert.Equal((AttentionPath.LowRank, AttentionPath.Exact), (fast.Path, refused.Path));
        Assert.Equal((2, 4, 2, 1600, 800), (summary.Calls, summary.Heads, summary.ExactHeads, summary.Rows, summary.ExactRows));
        Assert.Equal(Math.Max(fast.ErrorBound, refused.ErrorBound), summary.LargestBound);
        Assert.Equal(refused.Reason, summary.Reason);
    }
}
