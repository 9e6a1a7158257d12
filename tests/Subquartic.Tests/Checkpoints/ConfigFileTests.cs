using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Models;

namespace Subquartic.Tests.Checkpoints;

public sealed class ConfigFileTests : CheckpointFiles
{
    private static readonly VarConfig Small = VarConfig.Tiny with
    {
        Depth = 2, Width = 32, Heads = 2, HiddenWidth = 64, Vocabulary = 8, CodeChannels = 4, AttentionL2Norm = false, Scales = ScaleSchedule.Square(1, 2, 4),
    };

    [Theory]
    [InlineData("""{"num_heads":8,"norm_eps":1e-5,"patch_nums":[1,2,[2,8]],"other":[]}""", 8, 1e-5f, "1 2 2x8")]
    [InlineData("""{"var":{"num_heads":4},"num_heads":8,"norm_eps":0.25}""", 4, 0.25f, "1 2 4")]
    [InlineData("""{"var":{"depth":2,"embed_dim":32,"num_classes":10,"mlp_ratio":2.0,"shared_aln":false,"attn_l2_norm":false}}""", 2, 1e-6f, "1 2 4")]
    [InlineData("{}", 2, 1e-6f, "1 2 4")]
    public void States_what_the_tensors_do_not_show(string json, int heads, float epsilon, string scales)
    {
        VarConfig config = Infer(json);
        Assert.Equal((heads, epsilon, scales), (config.Heads, config.NormEpsilon, config.Scales.ToString()));
    }

    [Theory]
    [InlineData("""{"num_heads":3}""", "num_heads")]
    [InlineData("""{"num_heads":0}""", "num_heads")]
    [InlineData("""{"num_heads":"8"}""", "num_heads: \"8\"")]
    [InlineData("""{"num_heads":-1}""", "num_heads: -1")]
    [InlineData("""{"norm_eps":0}""", "norm_eps: 0")]
    [InlineData("""{"norm_eps":null}""", "norm_eps: null")]
    [InlineData("""{"patch_nums":[1,2,5]}""", "patch_nums: [1,2,5], expected maps of 1, 4, 16 tokens")]
    [InlineData("""{"patch_nums":[[2,2],[1,1],4]}""", "patch_nums")]
    [InlineData("""{"patch_nums":[1,[2],4]}""", "patch_nums")]
    [InlineData("""{"patch_nums":[1,"2",4]}""", "patch_nums")]
    [InlineData("""{"patch_nums":[0,2,4]}""", "patch_nums")]
    [InlineData("""{"patch_nums":[1,2,2000000000]}""", "patch_nums")]
    [InlineData("""{"patch_nums":"1 2 4"}""", "patch_nums")]
    [InlineData("""{"depth":3}""", "depth: 3, expected 2, as the tensors show")]
    [InlineData("""{"var":{"embed_dim":64}}""", "embed_dim: 64, expected 32")]
    [InlineData("""{"mlp_ratio":4}""", "mlp_ratio: 4, expected 2")]
    [InlineData("""{"attn_l2_norm":true}""", "attn_l2_norm: true, expected false")]
    [InlineData("""{"shared_aln":1}""", "shared_aln: 1, expected true or false")]
    [InlineData("""{"depth":2,"depth":2}""", "cannot be read")]
    [InlineData("""[1]""", "not a JSON object")]
    [InlineData("""{"depth":""", "cannot be read")]
    public void Refuses_what_contradicts_the_tensors(string json, string message)
    {
        CheckpointException e = Assert.Throws<CheckpointException>(() => Infer(json));
        Assert.Contains(message, e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"using_znorm":true,"quant_resi":0.25}""", null)]
    [InlineData("""{"vae":{"ch":32,"ch_mult":[1,2],"share_quant_resi":4,"vocab_size":8,"z_channels":4,"num_res_blocks":1,"in_channels":3,"quant_conv_ks":3}}""", null)]
    [InlineData("""{"ch_mult":[1,2,2]}""", "ch_mult")]
    [InlineData("""{"ch_mult":7}""", "ch_mult")]
    [InlineData("""{"share_quant_resi":1}""", "share_quant_resi: 1, expected 4")]
    [InlineData("""{"quant_resi":1.5}""", "quant_resi")]
    [InlineData("""{"using_znorm":"yes"}""", "using_znorm")]
    public void Completes_and_checks_the_vq_vae(string json, string? refusal)
    {
        VqVaeConfig config = VqVaeConfig.Tiny with { ChannelMultipliers = [1, 2], Vocabulary = 8, CodeChannels = 4 };
        RandomModel.Write(Folder, Small, config, TensorType.Float32, seed: 1);
        var file = ConfigFile.Load(Write(System.Text.Encoding.UTF8.GetBytes(json), "config.json"));
        using var checkpoint = Checkpoint.Open(Path.Combine(Folder, RandomModel.VqVaeFile));
        if (refusal is not null)
        {
            Assert.Contains(refusal, Assert.Throws<CheckpointException>(() => VqVaeConfig.Infer(checkpoint.Root, file)).Message, StringComparison.Ordinal);
            return;
        }

        VqVaeConfig found = VqVaeConfig.Infer(checkpoint.Root, file);
        bool stated = json.Contains("znorm", StringComparison.Ordinal);
        Assert.Equal((stated, stated ? 0.25f : 0.5f), (found.UseZNorm, found.QuantizerResidual));
    }

    [Fact]
    public void Prefers_the_file_of_the_same_name()
    {
        string checkpoint = Write([1], "a.pth");
        Assert.Null(ConfigFile.FindBeside(checkpoint));
        Write("{}"u8.ToArray(), "config.json");
        Assert.EndsWith("config.json", ConfigFile.FindBeside(checkpoint)!.Path, StringComparison.Ordinal);
        Write("""{"note":"mine"}"""u8.ToArray(), "a.json");
        Assert.Equal("mine", ConfigFile.FindBeside(checkpoint)!.Note);
    }

    [Fact]
    public void Recommended_sampling_takes_the_place_of_the_references_field_by_field()
    {
        Write("""{"recommended_sampling":{"guidance":1.5,"top_k":0,"temperature":[0.75,0.5],"passes":4}}"""u8.ToArray(), "a.json");
        Assert.Equal(
            new SamplingDefaults { Guidance = 1.5f, TopK = 0, Temperature = new ScaleValues(0.75f, 0.5f), Passes = 4 }, ConfigFile.Load(Path.Combine(Folder, "a.json")).Sampling);
        Assert.Equal(SamplingDefaults.Reference, ConfigFile.Load(Write("{}"u8.ToArray(), "b.json")).Sampling);
        GenerationRequest request = new SamplingDefaults { Guidance = 1, TopK = 2, TopP = 0.5f, Temperature = 3, Passes = new ScaleValues(1, 2) }.Request([7]);
        Assert.Equal(
            ("1", 2, 0.5f, "3", "1,2"),
            ($"{request.Guidance}", request.Sampling.TopK, request.Sampling.TopP, $"{request.Sampling.Temperature}", $"{request.Sampling.Passes}"));
    }

    [Theory]
    [InlineData("""{"recommended_sampling":7}""", "recommended_sampling", "an object")]
    [InlineData("""{"recommended_sampling":{"seed":1}}""", "recommended_sampling", "guidance, top_k, top_p, temperature")]
    [InlineData("""{"recommended_sampling":{"guidance":"4"}}""", "recommended_sampling.guidance", "a number")]
    [InlineData("""{"recommended_sampling":{"guidance":1e9}}""", "recommended_sampling.guidance", "1000")]
    [InlineData("""{"recommended_sampling":{"top_k":1.5}}""", "recommended_sampling.top_k", "a whole number")]
    [InlineData("""{"recommended_sampling":{"top_k":-1}}""", "recommended_sampling.top_k", "a whole number")]
    [InlineData("""{"recommended_sampling":{"top_p":1.1}}""", "recommended_sampling.top_p", "from 0 to 1")]
    [InlineData("""{"recommended_sampling":{"temperature":[1,-1]}}""", "recommended_sampling.temperature", "above 0")]
    [InlineData("""{"recommended_sampling":{"guidance":[]}}""", "recommended_sampling.guidance", "a number")]
    [InlineData("""{"recommended_sampling":{"passes":0}}""", "recommended_sampling.passes", "from 1 to 16")]
    [InlineData("""{"recommended_sampling":{"passes":17}}""", "recommended_sampling.passes", "from 1 to 16")]
    [InlineData("""{"recommended_sampling":{"passes":2.5}}""", "recommended_sampling.passes", "a whole number")]
    [InlineData("""{"recommended_sampling":{"temperature":0}}""", "recommended_sampling.temperature", "above 0")]
    public void Refuses_recommended_sampling_out_of_range_by_field(string json, string field, string words)
    {
        string path = Write(System.Text.Encoding.UTF8.GetBytes(json), "a.json");
        string message = Assert.Throws<CheckpointException>(() => ConfigFile.Load(path).Sampling).Message;
        Assert.Contains(field, message, StringComparison.Ordinal);
        Assert.Contains(words, message, StringComparison.Ordinal);
        Assert.Contains("a.json", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"note":7}""")]
    [InlineData("""{"note":"two\nlines"}""")]
    [InlineData("""{"note":"\u001b[2J"}""")]
    public void Refuses_notes_that_are_not_a_line(string json) =>
        Assert.Throws<CheckpointException>(() => ConfigFile.Load(Write(System.Text.Encoding.UTF8.GetBytes(json))).Note);

    [Fact]
    public void Scales_without_levels_are_those_of_a_released_model_or_stated()
    {
        Assert.Equal(ScaleSchedule.Var256.ToString(), InferWithoutLevels(ScaleSchedule.Var256, null).Scales.ToString());
        Assert.Equal(ScaleSchedule.Var512.ToString(), InferWithoutLevels(ScaleSchedule.Var512, null).Scales.ToString());
        Assert.Contains("state patch_nums", Assert.Throws<CheckpointException>(() => InferWithoutLevels(Small.Scales, null)).Message, StringComparison.Ordinal);
        Assert.Equal("1 2 4", InferWithoutLevels(Small.Scales, """{"patch_nums":[1,2,4]}""").Scales.ToString());
        Assert.Throws<CheckpointException>(() => InferWithoutLevels(Small.Scales, """{"patch_nums":[1,4]}"""));
    }

    private VarConfig Infer(string json)
    {
        RandomModel.Write(Folder, Small, VqVaeConfig.Tiny, TensorType.Float32, seed: 1);
        var file = ConfigFile.Load(Write(System.Text.Encoding.UTF8.GetBytes(json), "config.json"));
        using var checkpoint = Checkpoint.Open(Path.Combine(Folder, RandomModel.VarFile));
        return VarConfig.Infer(checkpoint.Root, file);
    }

    private VarConfig InferWithoutLevels(ScaleSchedule scales, string? json)
    {
        string path = Path.Combine(Folder, "var");
        SafetensorsWriter.Write(path, new RandomTensors(TensorType.Float16, 1).Var(Small with { Scales = scales }).Where(source => source.Tensor.Name != "lvl_1L"));
        using var checkpoint = Checkpoint.Open(path);
        return VarConfig.Infer(checkpoint.Root, json is null ? null : ConfigFile.Load(Write(System.Text.Encoding.UTF8.GetBytes(json), "config.json")));
    }
}
